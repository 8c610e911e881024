"""Django's settings. Every value that an operator can choose comes from ``portal.env``."""

import json
from typing import Any
from urllib.parse import urlsplit

import environ
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from portal import env

BASE_DIR = env.BASE_DIR
DEBUG = env.DEBUG
SECRET_KEY = env.SECRET_KEY
if not SECRET_KEY:
    raise ImproperlyConfigured(
        f"SECRET_KEY is not set, and {env.DATA_DIR} holds none: start once with `make run`, "
        "or set DATA_DIR to the folder that it was started with."
    )

_portal = urlsplit(env.URL)
HTTPS = _portal.scheme == "https"

# --- Flowstead ------------------------------------------------------------------------------------
FLOWSTEAD_URL = env.URL
FLOWSTEAD_INTERNAL_URL = env.INTERNAL_URL
FLOWSTEAD_DOMAIN = env.DOMAIN
FLOWSTEAD_INSTANCE_URL = f"{_portal.scheme}://{{name}}.{env.DOMAIN}" + (
    f":{_portal.port}" if _portal.port else ""
)
ENCRYPTION_KEYS = env.ENCRYPTION_KEYS
RESERVED_NAMES = env.RESERVED_NAMES
SIGNUP = env.SIGNUP
TENANT_INSTANCES = env.TENANT_INSTANCES
PALETTE_CATALOGUES = env.PALETTE_CATALOGUES
DOCUMENT_MAX_BYTES = env.DOCUMENT_MAX_BYTES
INSTANCE_MAX_BYTES = env.INSTANCE_MAX_BYTES
LIBRARY_MAX_TYPES = env.LIBRARY_MAX_TYPES
LIBRARY_MAX_ENTRIES = env.LIBRARY_MAX_ENTRIES
LIBRARY_MAX_META_BYTES = env.LIBRARY_MAX_META_BYTES
LIBRARY_MAX_INDEX_BYTES = env.LIBRARY_MAX_INDEX_BYTES
FLOW_REVISIONS = env.FLOW_REVISIONS
SHARED_SCOPE = "@private"  # read by everybody, published by whom the operator allows
REGISTRY_URL = env.REGISTRY_URL
REGISTRY_INTERNAL_URL = env.REGISTRY_INTERNAL_URL
REGISTRY_HOOK_TOKEN = env.REGISTRY_HOOK_TOKEN
REGISTRY_FOR_ALL = env.REGISTRY_FOR_ALL
REGISTRY_REFRESH_SECONDS = env.REGISTRY_REFRESH_SECONDS
CATALOGUE_URL = f"{env.URL}/catalogue.json"
CATALOGUE_MAX_TARBALL_BYTES = env.CATALOGUE_MAX_TARBALL_BYTES
CATALOGUE_KEYWORD = env.CATALOGUE_KEYWORD
CATALOGUE_AUDIENCES = "portal.audiences.Audiences"
LOG_STREAMS_PER_USER = env.LOG_STREAMS_PER_USER
LOG_STREAMS_PER_TENANT = env.LOG_STREAMS_PER_TENANT
LOG_STREAMS = env.LOG_STREAMS
METRICS_TOKEN = env.METRICS_TOKEN
FIRST_OPERATOR_PASSWORD = env.OPERATOR_PASSWORD
OPERATOR_PASSWORD_FILE = env.DATA_DIR / "operator-password"

FLOWSTEAD_DRIVER = env.DRIVER
RECONCILER_WORKERS = env.RECONCILER_WORKERS
RECONCILER_RESYNC_SECONDS = env.RECONCILER_RESYNC_SECONDS
RECONCILER_LEASE_SECONDS = env.RECONCILER_LEASE_SECONDS
RECONCILER_DOORBELL = env.LOCAL_RUN_DIR / "doorbell.sock" if env.DRIVER == "local" else None
BUNDLED_NODE_RED_VERSION = json.loads((BASE_DIR / "custom-node-red" / "package.json").read_text())[
    "dependencies"
]["node-red"]
INSTANCE_IMAGE = env.INSTANCE_IMAGE
STARTUP_SECONDS = env.STARTUP_SECONDS
_UNRESPONSIVE = {
    "unresponsive_seconds": env.UNRESPONSIVE_SECONDS,
    "unresponsive_restart_seconds": env.UNRESPONSIVE_RESTART_SECONDS,
}
LOCAL_DRIVER = {
    "run_dir": env.LOCAL_RUN_DIR,
    "supervisor_dir": env.DATA_DIR / "supervisor",
    "instances_dir": env.LOCAL_INSTANCES_DIR,
    "node": env.LOCAL_NODE,
    "program": (
        str(env.LOCAL_NODE_RED_DIR / "node_modules" / "node-red" / "red.js"),
        "--settings",
        str(env.LOCAL_NODE_RED_DIR / "settings.js"),
    ),
    "node_red_version": BUNDLED_NODE_RED_VERSION,
    "user": env.LOCAL_USER,
    "passed_on": env.LOCAL_PASSED_ON,
    "log_bytes": env.LOCAL_LOG_MEBIBYTES * 2**20,
    **_UNRESPONSIVE,
}
KUBERNETES_CONTEXT = env.KUBERNETES_CONTEXT
KUBERNETES_REQUEST_SECONDS = env.KUBERNETES_REQUEST_SECONDS
KUBERNETES: dict[str, Any] = {
    "namespaces": env.KUBERNETES_NAMESPACES,
    "namespace": env.KUBERNETES_NAMESPACE,
    "namespace_prefix": env.KUBERNETES_NAMESPACE_PREFIX,
    "route": env.KUBERNETES_ROUTE,
    "ingress_class": env.KUBERNETES_INGRESS_CLASS,
    "ingress_annotations": env.KUBERNETES_INGRESS_ANNOTATIONS,
    "tls": env.KUBERNETES_TLS,
    "tls_secret": env.KUBERNETES_TLS_SECRET,
    "gateway": env.KUBERNETES_GATEWAY,
    "storage_class": env.KUBERNETES_STORAGE_CLASS,
    "ingress_namespace": env.KUBERNETES_INGRESS_NAMESPACE,
    "portal_namespace": env.KUBERNETES_PORTAL_NAMESPACE,
    "dns_namespace": env.KUBERNETES_DNS_NAMESPACE,
    "private_networks": env.KUBERNETES_PRIVATE_NETWORKS,
    "allowed_networks": env.KUBERNETES_ALLOWED_NETWORKS,
    "runtime_class": env.KUBERNETES_RUNTIME_CLASS,
    "node_selector": env.KUBERNETES_NODE_SELECTOR,
    "image_pull_policy": env.KUBERNETES_IMAGE_PULL_POLICY,
    **_UNRESPONSIVE,
}

# --- What is installed ----------------------------------------------------------------------------
INSTALLED_APPS = [
    "portal.apps.PortalConfig",
    "tenants.apps.TenantsConfig",
    "catalogue.apps.CatalogueConfig",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.humanize",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "allauth.idp.oidc",
    "csp",
    "django_htmx",
    "ninja",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "portal.hosts.ApiSpeaksJson",
    "portal.hosts.PagesOnThePortalsHost",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "portal.text.StorableText",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "allauth.usersessions.middleware.UserSessionsMiddleware",
    "portal.logins.SaysWhenAgain",
]

ROOT_URLCONF = "portal.urls"
ASGI_APPLICATION = "portal.asgi.application"
WSGI_APPLICATION = "portal.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "portal.context.site",
            ],
        },
    }
]

# --- Data -----------------------------------------------------------------------------------------
# A save waits up to this long for its turn, and again for the database. Both waits and the work have to fit
# into the 15 s that an instance waits for its answer.
DATABASE_WAIT_SECONDS = 5
_database: dict[str, Any] = environ.Env.db_url_config(env.DATABASE_URL)
if _database["ENGINE"] == "django.db.backends.postgresql":
    _database["OPTIONS"] = {"connect_timeout": DATABASE_WAIT_SECONDS, **_database.get("OPTIONS", {})}
if _database["ENGINE"] == "django.db.backends.sqlite3":
    # Django's defaults let parallel writers fail: take the write lock at BEGIN, and wait for it.
    _database["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": DATABASE_WAIT_SECONDS,
        # Documents are large: larger pages (chosen when the file is made) halve what a save of 1 MB costs.
        "init_command": "PRAGMA page_size=16384; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
        "PRAGMA cache_size=-8000; PRAGMA wal_autocheckpoint=2000;"
        # Large saves make the write-ahead log grow; the next checkpoint shrinks it to this size again.
        f"PRAGMA journal_size_limit={64 * 2**20};",
    }
DATABASES = {"default": {**_database, "CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# OAuth codes and rate limits live here, so every web process has to see the same cache.
CACHES = {
    "default": environ.Env.cache_url_config(env.CACHE_URL)
    if env.CACHE_URL
    else {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "cache",
        # Above this Django throws a third away, rate limits and login codes with it.
        "OPTIONS": {"MAX_ENTRIES": 100_000},
    }
}

STATIC_URL = "/static/"
STATIC_ROOT = env.STATIC_ROOT
STATICFILES_DIRS = [BASE_DIR / "portal" / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

# Documents are larger than Django's default of 2.5 MB; the storage API checks its own limit.
DATA_UPLOAD_MAX_MEMORY_SIZE = env.DOCUMENT_MAX_BYTES + 2**20

# --- Language and time ----------------------------------------------------------------------------
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

# --- Security -------------------------------------------------------------------------------------
# In a cluster, instances reach the portal by a host of its own, such as that of its Service.
_internal_host = (urlsplit(env.INTERNAL_URL).hostname or "").rstrip(".")
HOSTS_FOR_SCRIPTS = frozenset({"localhost", "127.0.0.1", "::1", f"catalogue.{env.DOMAIN}", _internal_host})
_hosts = sorted({_portal.hostname or "", *HOSTS_FOR_SCRIPTS})
# A Host header has an IPv6 address in brackets.
ALLOWED_HOSTS = [*(f"[{host}]" if ":" in host else host for host in _hosts), *env.ALLOWED_HOSTS]
# Instances live on sibling hosts: no cookie may reach them. __Host- makes the browser see to it.
SESSION_COOKIE_NAME = "__Host-flowstead-session" if HTTPS else "flowstead-session"
CSRF_COOKIE_NAME = "__Host-flowstead-csrf" if HTTPS else "flowstead-csrf"
DEVICE_COOKIE_NAME = "__Host-flowstead-device" if HTTPS else "flowstead-device"
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = True
CSRF_TRUSTED_ORIGINS = [env.URL]
# Only portal.proxies reads the headers of proxies: allauth and ninja must not.
TRUSTED_PROXIES = env.TRUSTED_PROXIES
ALLAUTH_TRUSTED_PROXY_COUNT = 0
NINJA_NUM_PROXIES = 0
CSRF_FAILURE_VIEW = "portal.views.csrf_failure"
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
# W008: the proxy redirects to https; instances and probes reach the portal inside by plain http.
# W021: preloading is about the whole registered domain, which the operator decides.
SILENCED_SYSTEM_CHECKS = ["security.W008", "security.W021"]
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "manifest-src": [SELF],
        # Chromium applies form-action to redirects too: a login form leads on to an instance's editor.
        "form-action": [SELF, FLOWSTEAD_INSTANCE_URL.format(name="*")],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

# --- People ---------------------------------------------------------------------------------------
AUTHENTICATION_BACKENDS = [
    "portal.accounts.PasswordBackend",
    "django.contrib.auth.backends.ModelBackend",
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "instances"
ACCOUNT_ADAPTER = "portal.accounts.AccountAdapter"
SOCIALACCOUNT_ADAPTER = "portal.accounts.SocialAccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = env.EMAIL_VERIFICATION
ACCOUNT_USERNAME_MIN_LENGTH = 2
ACCOUNT_USERNAME_BLACKLIST = sorted(env.RESERVED_NAMES | {"admin", "root", "portal", "api"})
ACCOUNT_DEFAULT_HTTP_PROTOCOL = _portal.scheme
ACCOUNT_LOGOUT_REDIRECT_URL = "/"
# Passwords have limits of their own, in portal.logins. The windows of these are half a minute at the most,
# because many people may share an address; portal.views.too_many_requests relies on it.
ACCOUNT_RATE_LIMITS = {
    "signup": "20/30s/ip",
    "login": None,
    "login_failed": "5/5m/key",  # codes of the second factor, which take the password to get to
    "reset_password": "20/30s/ip,3/30s/key",
    "reset_password_from_key": "20/30s/ip",
    "change_password": "3/30s/user",
    "manage_email": "5/30s/user",
    "reauthenticate": "5/30s/user",
}
MFA_ADAPTER = "portal.accounts.SecondFactorAdapter"
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
MFA_TOTP_ISSUER = "Flowstead"
# Without a mail server no address can be verified, and a second factor must be possible all the same.
MFA_ALLOW_UNVERIFIED_EMAIL = env.EMAIL_VERIFICATION != "mandatory"
USERSESSIONS_TRACK_ACTIVITY = False
SOCIALACCOUNT_PROVIDERS = {
    "openid_connect": {
        "OAUTH_PKCE_ENABLED": True,
        "APPS": [
            {
                "provider_id": "oidc",
                "name": env.LOGIN_OIDC_NAME,
                "client_id": env.LOGIN_OIDC_CLIENT_ID,
                "secret": env.LOGIN_OIDC_CLIENT_SECRET,
                "settings": {"server_url": env.LOGIN_OIDC_ISSUER},
            }
        ]
        if env.LOGIN_OIDC_ISSUER
        else [],
    }
}
IDP_OIDC_ADAPTER = "tenants.oidc.EditorLoginAdapter"
IDP_OIDC_PRIVATE_KEY = env.OIDC_PRIVATE_KEY
IDP_OIDC_ACCESS_TOKEN_EXPIRES_IN = 300
IDP_OIDC_REFRESH_TOKEN_EXPIRES_IN = 3600

# --- Mail -----------------------------------------------------------------------------------------
_email = environ.Env.email_url_config(env.EMAIL_URL or "consolemail://")
EMAIL_BACKEND = _email["EMAIL_BACKEND"]
EMAIL_HOST = _email.get("EMAIL_HOST") or "localhost"
EMAIL_PORT = _email.get("EMAIL_PORT") or 25
EMAIL_HOST_USER = _email.get("EMAIL_HOST_USER") or ""
EMAIL_HOST_PASSWORD = _email.get("EMAIL_HOST_PASSWORD") or ""
EMAIL_USE_TLS = _email.get("EMAIL_USE_TLS", False)
EMAIL_USE_SSL = _email.get("EMAIL_USE_SSL", False)
EMAIL_TIMEOUT = 10
SENDS_MAIL = env.SENDS_MAIL
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.EMAIL_FROM

# --- Logs -----------------------------------------------------------------------------------------
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    # 503 is an answer that was meant: an instance that is not up yet, a portal that is not ready.
    "filters": {
        "faults": {
            "()": "django.utils.log.CallbackFilter",
            "callback": lambda record: getattr(record, "status_code", 500) != 503,
        }
    },
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {
        "nowhere": {"class": "logging.NullHandler"},
        "stderr": {"class": "logging.StreamHandler", "formatter": "line"},
    },
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        "django.request": {"level": "ERROR", "filters": ["faults"]},
        "django.security.DisallowedHost": {"handlers": ["nowhere"], "propagate": False},
        "httpx": {"level": "WARNING"},
        "urllib3.connectionpool": {"level": "ERROR"},  # a second try is nothing to tell
    },
}
