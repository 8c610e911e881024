"""What catalogue/ knows, a file a noun. The rules of each stand with it."""

from catalogue.models.package import Package, Scope, Version
from catalogue.models.reading import Look, Reading
from catalogue.models.rendering import Rendering
from catalogue.models.rule import Rule

__all__ = ["Look", "Package", "Reading", "Rendering", "Rule", "Scope", "Version"]
