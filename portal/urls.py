"""Every address of the portal, one line a room."""

from django.contrib import admin
from django.urls import include, path

from portal import health, views
from portal.api import api
from tenants import oidc

urlpatterns = [
    path("", views.landing, name="landing"),
    path("", include("tenants.urls")),
    path("", include("catalogue.urls")),
    path("accounts/", include("allauth.urls")),
    path("identity/o/authorize", oidc.authorize),
    path("", include("allauth.idp.urls")),
    path("admin/", admin.site.urls),
    path("api/v1/", api.urls),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", health.metrics),
]

handler400 = "portal.views.bad_request"
handler403 = "portal.views.forbidden"
handler404 = "portal.views.not_found"
handler429 = "portal.views.too_many_requests"
handler500 = "portal.views.server_error"
