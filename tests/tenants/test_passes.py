"""What an instance shows elsewhere proves who it is, and tells nothing else."""

import pytest

from tenants import passes
from tenants.models import Instance
from tenants.passes import Purpose
from tests import factories


def test_a_pass_leads_to_its_instance(instance):
    for purpose in Purpose:
        assert Instance.objects.holding(instance.pass_for(purpose), purpose) == instance


def test_it_tells_nothing_of_the_storage_token(instance):
    for purpose in Purpose:
        assert instance.storage_token not in instance.pass_for(purpose)


def test_each_purpose_has_passes_of_its_own(instance):
    shown = instance.pass_for(Purpose.CATALOGUE)
    assert shown != instance.pass_for(Purpose.REGISTRY)
    assert Instance.objects.holding(shown, Purpose.REGISTRY) is None


def test_it_ends_with_the_storage_token(instance):
    shown = instance.pass_for(Purpose.REGISTRY)
    instance.storage_token = "another-one"
    instance.save()
    assert Instance.objects.holding(shown, Purpose.REGISTRY) is None


def test_it_ends_with_the_instance(instance, user):
    shown = instance.pass_for(Purpose.REGISTRY)
    instance.retire(user)
    assert Instance.objects.holding(shown, Purpose.REGISTRY) is None


def test_no_digit_of_it_can_be_another(instance):
    shown = instance.pass_for(Purpose.REGISTRY)
    for place in (len(passes.PREFIX), 30, 60, len(shown) - 1):
        other = "0" if shown[place] != "0" else "1"
        forged = f"{shown[:place]}{other}{shown[place + 1 :]}"
        assert Instance.objects.holding(forged, Purpose.REGISTRY) is None


def test_nobody_holds_the_pass_of_another_with_their_own_proof(instance, other_user):
    other = factories.make_instance(other_user, "garage")
    mine, theirs = (each.pass_for(Purpose.REGISTRY) for each in (instance, other))
    mixed = theirs[: len(passes.PREFIX) + 32] + mine[len(passes.PREFIX) + 32 :]
    assert Instance.objects.holding(mixed, Purpose.REGISTRY) is None


@pytest.mark.django_db
@pytest.mark.parametrize(
    "text", ["", "fsi_", "x" * 100, "fsi_" + "g" * 96, "fsi_" + "0" * 96, "fsi_" + "0" * 96 + "\n"]
)
def test_what_is_no_pass_leads_nowhere(text):
    assert Instance.objects.holding(text, Purpose.REGISTRY) is None


def test_the_process_gets_it_with_the_registry(instance, settings):
    environment = instance.spec().process_environment()
    assert environment["FLOWSTEAD_REGISTRY_URL"] == settings.REGISTRY_INTERNAL_URL
    assert environment["FLOWSTEAD_REGISTRY_SCOPES"] == '["@private", "@alice"]'
    assert environment["FLOWSTEAD_REGISTRY_FOR_ALL"] == "false"
    assert environment["FLOWSTEAD_REGISTRY_TOKEN"] == instance.pass_for(Purpose.REGISTRY)


def test_without_a_registry_it_gets_none(instance, settings):
    settings.REGISTRY_URL = ""
    environment = instance.spec().process_environment()
    assert not [name for name in environment if name.startswith("FLOWSTEAD_REGISTRY")]
    assert "fsi_" not in environment["FLOWSTEAD_CATALOGUES"]


def test_a_spec_that_is_printed_tells_no_pass(instance):
    assert instance.pass_for(Purpose.REGISTRY) not in repr(instance.spec().secrets)
