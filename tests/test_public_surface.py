"""What the package offers to chapters and readers, by name; a change here is for the changelog."""

import collections
import importlib
import pkgutil
import types

import pytest

import fedbook

PUBLIC = {
    "fedbook": """
        current_scale datasets partition scaled
    """,
    "fedbook.algorithms": """
        adam Algorithm ALL_AT_ONCE Backend client_update ClientUpdate Cohort encode_with_memory
        fed_adam fed_avg fed_avg_m fed_dyn fed_nova fed_prox fed_varp fed_yogi Federation
        initial_state LocalTraining mifa mime_lite next_round ONE_AT_A_TIME Proximal run scaffold
        server_aggregate server_update ServerOptimizer sgd State tff yogi zero_memory
    """,
    "fedbook.algorithms.tff": """
        build_client_work build_error_feedback build_fast_fed_avg build_fed_avg build_scaffold
        run_scaffold_round
    """,
    "fedbook.claims": """
        assert_same Claims wrapped_table
    """,
    "fedbook.compression": """
        aggregate Codec Deflated Dense encode_change header_bytes MajorityVote mean_aggregator
        MessageFormat QSGD RandomK Rotated Sign sum_aggregator TopK UniformQuantizer
    """,
    "fedbook.data": """
        client_data DatasetError Digits DigitsByWriter load_digits load_digits_by_writer
    """,
    "fedbook.data.partition": """
        classes_per_client concept_skew dirichlet_per_class dirichlet_per_client earth_movers
        effective_classes feature_skew gini iid jensen_shannon Partition quantity_log_normal
        shards skew temporal_drift total_variation Transform
    """,
    "fedbook.diagrams": """
        Diagram
    """,
    "fedbook.evidence": """
        Claim claims_in code_hash code_of figures_in folder load Record restated save
    """,
    "fedbook.exercises": """
        check Verdict
    """,
    "fedbook.models": """
        BATCH_SPEC CLASSES functional IMAGE IMAGES_SPEC keras logits loss PIXELS
        softmax_regression
    """,
    "fedbook.plots": """
        client_sizes curves decoded_grid image_rows label_counts label_counts_slider latent_plane
    """,
    "fedbook.privacy": """
        epsilon_for_noise epsilon_for_tree noise_for_epsilon PrivacyGuarantee
    """,
    "fedbook.simulation": """
        LAST_SEED Prepare prepare_batches Run run_training sample_clients
    """,
}
MODULES = {
    name: importlib.import_module(name)
    for name in [
        "fedbook",
        *(found.name for found in pkgutil.walk_packages(fedbook.__path__, "fedbook.")),
    ]
}
PACKAGES = {name: module for name, module in MODULES.items() if hasattr(module, "__path__")}


def defined(module: types.ModuleType) -> set[str]:
    """The names of the functions and classes that a module itself defines."""
    return {
        name
        for name, value in vars(module).items()
        if isinstance(value, (type, types.FunctionType))
        and value.__module__ == module.__name__
        and not name.startswith("_")
    }


def test_the_public_names_are_these():
    found = {name: set(getattr(package, "__all__", [])) for name, package in PACKAGES.items()}
    # Modules that stand by themselves.
    for name in ("fedbook.claims", "fedbook.diagrams", "fedbook.evidence", "fedbook.plots"):
        found[name] = defined(MODULES[name])
    assert {name: names for name, names in found.items() if names} == {
        name: set(names.split()) for name, names in PUBLIC.items()
    }


@pytest.mark.parametrize("name", PACKAGES)
def test_all_is_complete(name):
    package = PACKAGES[name]
    names = {
        name
        for name, value in vars(package).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    listed = getattr(package, "__all__", [])
    assert len(set(listed)) == len(listed)
    assert names <= set(listed)
    assert [name for name in listed if not hasattr(package, name)] == []


def test_one_name_has_one_meaning():
    meanings = collections.defaultdict(set)
    for module, names in PUBLIC.items():
        for name in names.split():
            meanings[name].add(getattr(MODULES[module], name))
    assert {name for name, found in meanings.items() if len(found) > 1} == set()


@pytest.mark.parametrize("name", [name for name in MODULES if "." in name])
def test_no_module_hides_behind_an_object_of_its_name(name):
    package, _, module = name.rpartition(".")
    assert getattr(MODULES[package], module) is MODULES[name]
