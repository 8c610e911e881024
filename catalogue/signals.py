"""A rule was written -> what the catalogue shows of its package is composed anew."""

from typing import Any

from django.db import transaction
from django.db.models.signals import post_delete, post_save

from catalogue.models import Package, Rule, Scope
from catalogue.palette import scope_of


def connect() -> None:
    post_save.connect(rule_changed, sender=Rule, dispatch_uid="rule saved")
    post_delete.connect(rule_changed, sender=Rule, dispatch_uid="rule deleted")


@transaction.atomic
def rule_changed(instance: Rule, **_: Any) -> None:
    Scope.objects.changed(scope_of(instance.package))
    package = Package.objects.select_for_update().filter(name=instance.package).first()
    if package:
        package.compose()
