"""What an operator offers: Node-RED versions (stacks) and amounts of CPU and memory (sizes)."""

from typing import Any

from django.core.validators import MinValueValidator
from django.db import models

DEFAULT_EXCLUDES = ["90-exec.js", "28-tail.js", "10-file.js", "23-watch.js"]


def default_excludes() -> list[str]:
    return list(DEFAULT_EXCLUDES)


class OfferedQuerySet(models.QuerySet[Any]):
    def offered(self) -> "OfferedQuerySet":
        return self.filter(active=True)

    def default(self) -> Any:
        """The one that a new instance gets where nothing else was chosen, or None."""
        return self.offered().order_by("-is_default", "pk").first()


class Offered(models.Model):
    """What stacks and sizes have in common. ``active`` ones can be chosen for new instances."""

    name = models.SlugField(max_length=40, unique=True)
    active = models.BooleanField(default=True)
    is_default = models.BooleanField(default=False)

    objects = OfferedQuerySet.as_manager()

    class Meta:
        abstract = True
        ordering = ["-is_default", "name"]

    def __str__(self) -> str:
        return self.name


class Stack(Offered):
    """A Node-RED version: its npm version for the local driver, its image for the container drivers."""

    node_red_version = models.CharField("Node-RED version", max_length=40)
    image = models.CharField(max_length=300, blank=True)
    nodes_excludes: Any = models.JSONField(
        "excluded nodes",
        default=default_excludes,
        blank=True,
        help_text="File names of core nodes that the palette leaves out, such as 90-exec.js.",
    )


class Size(Offered):
    """How much an instance may use."""

    cpu = models.PositiveIntegerField(
        "CPU", help_text="Thousandths of a core.", validators=[MinValueValidator(50)]
    )
    memory = models.PositiveIntegerField(help_text="MiB.", validators=[MinValueValidator(128)])
    cpu_reserved = models.PositiveIntegerField(
        "reserved CPU",
        default=50,
        help_text="Thousandths of a core that a node sets aside. The Kubernetes driver alone keeps to it.",
    )
    disk = models.PositiveIntegerField(
        default=0,
        help_text="GiB that outlast a move to another node; 0 for none. The Kubernetes driver alone keeps "
        "to it.",
    )

    def __str__(self) -> str:
        disk = f", {self.disk} GiB of disk" if self.disk else ""
        return f"{self.name} ({self.memory} MiB{disk})"
