"""The addresses of the catalogue."""

from django.urls import path

from catalogue.views import machines, pages

urlpatterns = [
    path("catalogue.json", machines.catalogue),
    path("update", machines.update),
    path("catalogue/", pages.overview, name="catalogue"),
    path("catalogue/publish/", pages.publish, name="publish"),
    path("catalogue/<path:name>/", pages.package, name="package"),
]
