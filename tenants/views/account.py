"""What belongs to a person: the account and the access tokens."""

from allauth.mfa.utils import is_mfa_enabled
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from tenants.forms import TokenForm
from tenants.models import AccessToken, Membership
from tenants.views.access import PageRequest, signed_in


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
    """The tokens of a person. A new one is shown in the answer that made it, and never again."""
    form, plain = TokenForm(request.POST or None), ""
    if request.method == "POST":
        if wait := AccessToken.objects.count_new(request.user):
            request.retry_after = wait
            return render(request, "429.html", status=429)
        if form.is_valid():
            plain = AccessToken.objects.make(request.user, form.cleaned_data["name"], form.lifetime())[1]
            form = TokenForm()
    mine = AccessToken.objects.filter(user_id=request.user.pk)
    context = {"form": form, "tokens": mine, "plain": plain}
    return render(request, "tenants/tokens.html", context, status=422 if form.errors else 200)


@require_POST
@signed_in
def revoke_token(request: PageRequest, pk: int) -> HttpResponse:
    token = get_object_or_404(AccessToken, pk=pk, user_id=request.user.pk)
    token.revoke(by=request.user)
    messages.success(request, f"“{token.name}” is revoked. Whatever uses it is refused from now on.")
    return redirect("tokens")
