"""Django in one file, with mozilla-django-oidc or social-auth (PyPI), as their documentations show."""

import os
import sys
import tempfile

import django
from django.conf import settings
from django.core.management import call_command

ISSUER, CLIENT_ID, CLIENT_SECRET = (os.environ[name] for name in ("ISSUER", "CLIENT_ID", "CLIENT_SECRET"))
PORT, PACKAGE = os.environ["PORT"], os.environ["PACKAGE"]
MOZILLA = PACKAGE == "mozilla_django_oidc"

own = (
    {
        "AUTHENTICATION_BACKENDS": ["__main__.PhoneBackend"],
        "OIDC_RP_CLIENT_ID": CLIENT_ID,
        "OIDC_RP_CLIENT_SECRET": CLIENT_SECRET,
        "OIDC_RP_SIGN_ALGO": "RS256",
        "OIDC_RP_SCOPES": "openid phone profile",
        "OIDC_USE_PKCE": True,
        "OIDC_OP_AUTHORIZATION_ENDPOINT": f"{ISSUER}/authorize",
        "OIDC_OP_TOKEN_ENDPOINT": f"{ISSUER}/token",
        "OIDC_OP_USER_ENDPOINT": f"{ISSUER}/userinfo",
        "OIDC_OP_JWKS_ENDPOINT": f"{ISSUER}/jwks",
    }
    if MOZILLA
    else {
        "AUTHENTICATION_BACKENDS": ["social_core.backends.open_id_connect.OpenIdConnectAuth"],
        "SOCIAL_AUTH_OIDC_OIDC_ENDPOINT": ISSUER,
        "SOCIAL_AUTH_OIDC_KEY": CLIENT_ID,
        "SOCIAL_AUTH_OIDC_SECRET": CLIENT_SECRET,
        "SOCIAL_AUTH_OIDC_SCOPE": ["openid", "phone", "profile"],
        "SOCIAL_AUTH_OIDC_IGNORE_DEFAULT_SCOPE": True,
        "SOCIAL_AUTH_OIDC_USERNAME_KEY": "sub",
        "SOCIAL_AUTH_OIDC_EXTRA_DATA": ["phone_number", "sub", "name"],
    }
)
settings.configure(
    SECRET_KEY="of the test",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF="__main__",
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": tempfile.mktemp(".sqlite3")}},
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        PACKAGE,
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    LOGIN_REDIRECT_URL="/me",
    **own,
)
django.setup()

from django.http import JsonResponse  # noqa: E402
from django.urls import include, path  # noqa: E402

if MOZILLA:
    from mozilla_django_oidc.auth import OIDCAuthenticationBackend

    class PhoneBackend(OIDCAuthenticationBackend):
        """Users are named by `sub`: there is no e-mail address."""

        def filter_users_by_claims(self, claims):
            return self.UserModel.objects.filter(username=claims["sub"])

        def create_user(self, claims):
            return self.UserModel.objects.create_user(
                claims["sub"], first_name=claims["name"], last_name=claims["phone_number"]
            )


def me(request):
    user = request.user
    if MOZILLA:
        return JsonResponse({"sub": user.username, "phone": user.last_name, "name": user.first_name})
    data = user.social_auth.get(provider="oidc").extra_data
    return JsonResponse({"sub": data["sub"], "phone": data["phone_number"], "name": data["name"]})


if not MOZILLA:
    from social_core.actions import do_auth
    from social_django.utils import psa

    # The library's own view takes a POST with Django's token; the test opens the login as a link.
    login = path("login", psa("social:complete")(lambda request, backend: do_auth(request.backend)), {"backend": "oidc"})

library = include("mozilla_django_oidc.urls") if MOZILLA else include("social_django.urls", namespace="social")
urlpatterns = [path("me", me), path("oidc/" if MOZILLA else "", library)] + ([] if MOZILLA else [login])

call_command("migrate", verbosity=0)
sys.argv = ["manage.py"]
call_command("runserver", f"127.0.0.1:{PORT}", use_reloader=False)
