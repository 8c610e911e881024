"""The addresses of the pages."""

from django.urls import path

from tenants.views import account, instances, logs, revisions, unavailable

urlpatterns = [
    path("instances/", instances.overview, name="instances"),
    path("instances/new/", instances.new, name="instance_new"),
    path("instances/new/name/", instances.name_check, name="name_check"),
    path("instances/<str:name>/", instances.page, name="instance"),
    path("instances/<str:name>/state/", instances.state, name="instance_state"),
    path("instances/<str:name>/start/", instances.start, name="instance_start"),
    path("instances/<str:name>/stop/", instances.stop, name="instance_stop"),
    path("instances/<str:name>/restart/", instances.restart, name="instance_restart"),
    path("instances/<str:name>/environment/", instances.environment, name="instance_environment"),
    path("instances/<str:name>/delete/", instances.delete, name="instance_delete"),
    path("instances/<str:name>/log/", logs.page, name="instance_log"),
    path("instances/<str:name>/log/state/", logs.state, name="instance_log_state"),
    path("instances/<str:name>/log/stream", logs.stream, name="instance_log_stream"),
    path("instances/<str:name>/log/download", logs.download, name="instance_log_download"),
    path("instances/<str:name>/history/", revisions.page, name="instance_revisions"),
    path("instances/<str:name>/history/keep/", revisions.keep, name="revision_keep"),
    path("instances/<str:name>/history/<int:number>/restore/", revisions.restore, name="revision_restore"),
    path("instances/<str:name>/history/<int:number>/delete/", revisions.delete, name="revision_delete"),
    path("account/", account.overview, name="account"),
    path("account/tokens/", account.tokens, name="tokens"),
    path("account/tokens/<int:pk>/revoke/", account.revoke_token, name="token_revoke"),
    path("-/instance-unavailable", unavailable.unavailable, name="instance_unavailable"),
]
