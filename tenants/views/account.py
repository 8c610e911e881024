"""What belongs to a person: the account and the access tokens."""

from allauth.mfa.utils import is_mfa_enabled
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from tenants.encryption import decrypt, encrypt
from tenants.forms import TokenForm
from tenants.models import AccessToken, Membership
from tenants.views.access import PageRequest, signed_in

# In the session, encrypted, between the request that makes a token and the page that shows it.
NEW_TOKEN = "new_token"


@require_safe
@signed_in
def overview(request: PageRequest) -> HttpResponse:
    context = {
        "memberships": Membership.objects.filter(user_id=request.user.pk).select_related("tenant"),
        "token_count": AccessToken.objects.filter(user_id=request.user.pk).count(),
        "two_factor": is_mfa_enabled(request.user),
    }
    return render(request, "tenants/account.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def tokens(request: PageRequest) -> HttpResponse:
    """List the user's tokens, and make one. It is shown once, on the page that this redirects to."""
    form = TokenForm(request.POST or None)
    if request.method == "POST":
        if wait := AccessToken.objects.count_new(request.user):
            request.retry_after = wait
            return render(request, "429.html", status=429)
        if form.is_valid():
            token, plain = AccessToken.objects.make(request.user, form.cleaned_data["name"], form.lifetime())
            request.session[NEW_TOKEN] = {"id": token.pk, "text": encrypt(plain.encode()).decode()}
            return redirect(f"{reverse('tokens')}?new={token.pk}")
    context = {
        "form": form,
        "tokens": AccessToken.objects.filter(user_id=request.user.pk),
        "plain": _new_token(request) if request.method == "GET" else "",
    }
    return render(request, "tenants/tokens.html", context, status=422 if form.errors else 200)


def _new_token(request: PageRequest) -> str:
    """Take the new token out of the session, for the tab in which it was made and no other."""
    new = request.session.get(NEW_TOKEN)
    if new is None or request.GET.get("new") != str(new["id"]):
        return ""
    del request.session[NEW_TOKEN]
    return decrypt(new["text"].encode()).decode()


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def revoke_token(request: PageRequest, pk: int) -> HttpResponse:
    token = get_object_or_404(AccessToken, pk=pk, user_id=request.user.pk)
    if request.method != "POST":
        return render(request, "tenants/token_revoke.html", {"token": token})
    token.revoke(by=request.user)
    messages.success(request, f"“{token.name}” is revoked. Whatever uses it is refused from now on.")
    return redirect("tokens")
