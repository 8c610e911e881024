"""What people fill in. Forms gather and show; the models' rules decide."""

from collections.abc import Iterable
from datetime import timedelta
from itertools import zip_longest
from typing import Any

from django import forms
from django.contrib.auth.models import AbstractBaseUser
from django.http import QueryDict
from django.urls import reverse_lazy
from django.utils import timezone

from tenants.errors import Refused
from tenants.models import Event, Instance, Size, Stack, Tenant
from tenants.models.instance import clean_environment
from tenants.provisioning.spec import NAME_MAX_LENGTH

SPARE_ROWS = 2
MOMENTS = timedelta(minutes=1)


class FreeName:
    """For forms with a ``name`` that no instance may have yet."""

    cleaned_data: dict[str, Any]

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        try:
            Instance.objects.check_free(name)
        except Refused as error:
            raise forms.ValidationError(str(error)) from error
        return name


class NameForm(FreeName, forms.Form):
    """A name for a new instance, checked for its form and for being free."""

    name = forms.CharField(
        max_length=NAME_MAX_LENGTH,
        error_messages={"max_length": f"A name has at most {NAME_MAX_LENGTH} characters."},
    )


class VariablesForm(forms.Form):
    """Environment variables as rows of a name (``variable``) and a value (``value``)."""

    def __init__(self, data: QueryDict | None = None, *, environment: dict[str, str] | None = None) -> None:
        super().__init__(data)
        given = self._given() if data is not None else list((environment or {}).items())
        self.rows = [*given, *([("", "")] * SPARE_ROWS)]

    def _given(self) -> list[tuple[str, str]]:
        data: Any = self.data
        pairs = zip_longest(data.getlist("variable"), data.getlist("value"), fillvalue="")
        # Browsers send the line ends of a text area as CRLF.
        return [(name.strip(), value.replace("\r\n", "\n")) for name, value in pairs if name.strip() or value]

    def clean(self) -> dict[str, Any] | None:
        _check_names(name for name, _ in self._given())
        try:
            clean_environment(self.environment())
        except Refused as error:
            raise forms.ValidationError(str(error)) from error
        return super().clean()

    def environment(self) -> dict[str, str]:
        return dict(self._given())


def _check_names(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if not name:
            raise forms.ValidationError("A value has no name. Name the variable, or empty the row.")
        if name in seen:
            raise forms.ValidationError(f"“{name}” is there twice. Keep one of them.")
        seen.add(name)


class _StackField(forms.ModelChoiceField):  # type: ignore[type-arg]
    def label_from_instance(self, obj: Any) -> str:
        return f"Node-RED {obj.node_red_version}"


class _SizeField(forms.ModelChoiceField):  # type: ignore[type-arg]
    def label_from_instance(self, obj: Any) -> str:
        disk = f", {obj.disk} GiB of disk" if obj.disk else ""
        return f"{obj.name.capitalize()}: {obj.memory} MiB of memory, {obj.cpu / 1000:g} CPU{disk}"


class _TenantField(forms.ModelChoiceField):  # type: ignore[type-arg]
    def label_from_instance(self, obj: Any) -> str:
        return str(obj.name)


class InstanceForm(VariablesForm):
    """A new instance of one of the tenants in which ``user`` may make one."""

    name = forms.CharField(
        max_length=NAME_MAX_LENGTH,
        help_text="Lower-case letters, digits and “-”. It becomes the instance's address and stays as it is.",
        widget=forms.TextInput(
            attrs={
                "autocomplete": "off",
                "autocapitalize": "none",
                "spellcheck": "false",
                "autofocus": True,
                "hx-get": reverse_lazy("name_check"),
                "hx-trigger": "input changed delay:300ms",
                "hx-target": "#name-check",
                "hx-sync": "this:replace",
            }
        ),
    )
    tenant = _TenantField(Tenant.objects.none(), to_field_name="slug", empty_label=None)
    stack = _StackField(Stack.objects.none(), to_field_name="name", empty_label=None, label="Version")
    size = _SizeField(Size.objects.none(), to_field_name="name", empty_label=None, widget=forms.RadioSelect)

    def __init__(self, data: QueryDict | None = None, *, user: AbstractBaseUser) -> None:
        super().__init__(data)
        self.user = user
        self._offer("tenant", Tenant.objects.where_user_can_change(user), None)
        self._offer("stack", Stack.objects.offered(), Stack.objects.default())
        self._offer("size", Size.objects.offered().order_by("memory", "cpu"), Size.objects.default())

    def _offer(self, name: str, choices: Any, default: Any) -> None:
        """Ask only where there is something to choose."""
        field: Any = self.fields[name]
        field.queryset = choices
        first = default or choices.first()
        field.initial = getattr(first, field.to_field_name) if first else None
        field.required = choices.count() != 1
        if not field.required:
            field.widget = forms.HiddenInput()

    def make(self) -> Instance | None:
        """The new instance; or None, with what the rules say against it among the errors."""
        chosen = self.cleaned_data
        try:
            return Instance.objects.make(
                chosen["tenant"] or self.fields["tenant"].queryset.first(),  # type: ignore[attr-defined]
                chosen["name"],
                by=self.user,
                stack=chosen["stack"],
                size=chosen["size"],
                environment=self.environment(),
            )
        except Refused as error:
            self.add_error(error.field if error.field in self.fields else None, str(error))
            return None

    def made_moments_ago(self) -> Instance | None:
        """What the first of two clicks has made."""
        name, since = self.cleaned_data.get("name") or self.data["name"].strip(), timezone.now() - MOMENTS
        made = Event.objects.filter(verb=Event.Verb.CREATED, actor_id=self.user.pk, instance_name=name)
        ids = made.filter(at__gte=since).values("instance_id")
        return Instance.objects.visible_to(self.user).filter(pk__in=ids, retired_at=None).first()


class DeleteForm(forms.Form):
    """The instance's name, typed again by somebody who means it."""

    name = forms.CharField(
        label="Name of the instance",
        strip=True,
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}
        ),
    )

    def __init__(self, data: QueryDict | None = None, *, name: str) -> None:
        super().__init__(data)
        self._expected = name

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if name != self._expected:
            raise forms.ValidationError("That is not its name. Nothing was deleted.")
        return name


class TokenForm(forms.Form):
    name = forms.CharField(
        max_length=100, label="What is it for?", widget=forms.TextInput(attrs={"autocomplete": "off"})
    )
    days = forms.TypedChoiceField(
        label="It ends after",
        choices=[("30", "30 days"), ("90", "90 days"), ("365", "a year"), ("", "never")],
        coerce=int,
        empty_value=None,
        required=False,
        initial="90",
    )

    def lifetime(self) -> timedelta | None:
        days = self.cleaned_data["days"]
        return timedelta(days=days) if days else None
