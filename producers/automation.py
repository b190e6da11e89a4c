"""Creates the W&B automations that call the webhook receiver for what the gates watch.

There is one automation per scope and event, not per gate: the receiver matches every delivery with
all gates. It checks aliases again, so an automation may send too much, but never too little.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Literal, NamedTuple

import wandb
from pydantic import BaseModel, ConfigDict
from wandb.apis.public import ArtifactCollection
from wandb.apis.public.registries.registry import Registry
from wandb.automations import (
    ArtifactEvent,
    Automation,
    OnAddArtifactAlias,
    OnLinkArtifact,
    SendWebhook,
    WebhookIntegration,
)
from wandb.automations.actions import SavedWebhookAction

from registry.calls import wandb_api, wandb_call
from schemas.errors import ConfigurationError, WeighbridgeError
from schemas.gates import Gate
from schemas.refs import REGISTRY_PREFIX, ArtifactRef
from schemas.settings import Settings

_VARIABLES = (
    "event_type",
    "event_author",
    "alias",
    "artifact_version",
    "artifact_version_string",
    "artifact_collection_name",
    "project_name",
    "entity_name",
)
#: The body of W&B's examples, with its variables (docs/upstream/wandb-webhooks.md, "Payload").
PAYLOAD = {name: f"${{{name}}}" for name in _VARIABLES}

_WILDCARD = re.compile(r"(\*|\?|\[.+?\])")
_ANY = "*"  # the collection of a scope that is a whole registry
# W&B does not document its message for a plan without automations.
_PLAN = re.compile(r"\bplan\b|upgrade|not supported|not enabled", re.I)

_Scope = Registry | ArtifactCollection
_Event = OnLinkArtifact | OnAddArtifactAlias
Outcome = Literal["created", "updated", "unchanged"]


class AutomationResult(BaseModel):
    """An automation that a gate needs, as it is in W&B now.

    Attributes:
        name: Its name in W&B.
        event: The event that triggers it.
        scope: ``org/wandb-registry-NAME/COLLECTION``; the collection is ``*`` for a registry.
        alias: Pattern of the aliases that trigger it; None for links.
        gates: Gates that need it.
        integration: Name of the webhook that it calls.
        enabled: False if a person has disabled it; it stays disabled.
        outcome: What this call did.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    event: Literal["LINK_ARTIFACT", "ADD_ARTIFACT_ALIAS"]
    scope: str
    alias: str | None
    gates: tuple[str, ...]
    integration: str
    enabled: bool
    outcome: Outcome


class _Trigger(NamedTuple):
    """What triggers an automation, which identifies it."""

    scope: ArtifactRef
    alias: str | None

    @property
    def name(self) -> str:
        event = "link" if self.alias is None else f"alias {self.alias}"
        return f"weighbridge {event} {self.scope.collection_path.replace(REGISTRY_PREFIX, '')}"

    @property
    def registry_name(self) -> str:
        return self.scope.project.removeprefix(REGISTRY_PREFIX)

    def in_whole_registry(self) -> "_Trigger":
        """The same trigger for the whole registry."""
        return self._replace(scope=self.scope.model_copy(update={"collection": _ANY}))


def create_automations(
    settings: Settings, *, integration: str | None, url: str | None
) -> list[AutomationResult]:
    """Create the automations that the gates need; safe to repeat.

    Args:
        settings: The operator's settings.
        integration: Name of the W&B webhook to call; may be None if there is only one.
        url: The receiver's address; only a webhook with this URL is used.

    Raises:
        ConfigurationError: W&B has no such webhook or refuses automations, and the message says
            what to do by hand; or a registry or collection does not exist.
        PlatformError: W&B did not answer.
    """
    triggers = _triggers(settings.gates.gates)
    api = wandb_api(settings.wandb_timeout)
    webhook = _webhook(api, integration, url, triggers)
    scopes = {trigger: _scope(api, trigger) for trigger in triggers}
    try:
        return [
            _ensure(api, trigger, triggers[trigger], scope, webhook)
            for trigger, scope in scopes.items()
        ]
    except WeighbridgeError as error:
        if error.retryable and not _PLAN.search(error.message):
            raise
        by_hand = _automations_by_hand(triggers, webhook.name)
        raise ConfigurationError(error.message, fix=by_hand) from error


def _triggers(gates: Iterable[Gate]) -> dict[_Trigger, set[str]]:
    """Return the triggers that the gates need, with the names of their gates.

    A trigger for a collection is dropped if there is one for its whole registry.
    """
    found: defaultdict[_Trigger, set[str]] = defaultdict(set)
    for gate in gates:
        for pattern in gate.watch:
            trigger = _Trigger(ArtifactRef.parse(pattern), gate.when_alias)
            is_single = _WILDCARD.search(trigger.scope.collection) is None
            found[trigger if is_single else trigger.in_whole_registry()].add(gate.name)
    for trigger in list(found):
        broader = trigger.in_whole_registry()
        if trigger != broader and broader in found:
            found[broader] |= found.pop(trigger)
    return dict(found)


def _webhook(
    api: wandb.Api, name: str | None, url: str | None, triggers: Iterable[_Trigger]
) -> WebhookIntegration:
    with wandb_call("list the team's webhooks"):
        known = list(api.webhook_integrations())
    candidates = [
        one for one in known if name in (None, one.name) and url in (None, one.url_endpoint)
    ]
    if len(candidates) == 1:
        return candidates[0]
    existing = ", ".join(f"{one.name} ({one.url_endpoint})" for one in known)
    if candidates:
        raise ConfigurationError(
            f"The W&B team has more than one webhook: {existing}.",
            fix="Name one with --integration.",
        )
    requested = "".join((f" '{name}'" if name else "", f" to {url}" if url else ""))
    raise ConfigurationError(
        f"The W&B team has no webhook{requested}{f'; it has {existing}' if existing else ''}.",
        fix=_by_hand(triggers, name or "weighbridge", url),
    )


def _scope(api: wandb.Api, trigger: _Trigger) -> _Scope:
    path = trigger.scope.collection_path
    with wandb_call(f"read {path}"):
        registry = api.registry(trigger.registry_name, organization=trigger.scope.entity)
        if trigger.scope.collection == _ANY:
            return registry
        for collection in registry.collections(filter={"name": trigger.scope.collection}):
            return collection
    raise ConfigurationError(
        f"There is no collection {path} yet, so W&B cannot watch it.",
        fix="Link a first version to it, or watch the whole registry with a wildcard.",
    )


def _event(trigger: _Trigger, scope: _Scope) -> _Event:
    if trigger.alias is None:
        return OnLinkArtifact(scope=scope)
    matching = ArtifactEvent.alias.matches_regex(_regex(trigger.alias))
    return OnAddArtifactAlias(scope=scope, filter=matching)


def _regex(pattern: str) -> str:
    """Convert a shell pattern to a portable regex; a set such as [ab] becomes any character."""
    parts = (
        ".*" if part == "*" else "." if _WILDCARD.fullmatch(part) else re.escape(part)
        for part in _WILDCARD.split(pattern)
    )
    return f"^{''.join(parts)}$"


def _ensure(
    api: wandb.Api, trigger: _Trigger, gates: set[str], scope: _Scope, webhook: WebhookIntegration
) -> AutomationResult:
    event = _event(trigger, scope)
    action = SendWebhook.from_integration(webhook, payload=PAYLOAD)
    with wandb_call(f"create the automation '{trigger.name}'"):
        # The organization's entity may have a different name.
        saved = next(iter(api.automations(scope.entity, name=trigger.name)), None)
        automation, outcome = _create_or_update(api, trigger.name, saved, event, action)
    return AutomationResult(
        name=automation.name,
        event="LINK_ARTIFACT" if trigger.alias is None else "ADD_ARTIFACT_ALIAS",
        scope=trigger.scope.collection_path,
        alias=trigger.alias,
        gates=tuple(sorted(gates)),
        integration=webhook.name,
        enabled=automation.enabled,
        outcome=outcome,
    )


def _create_or_update(
    api: wandb.Api, name: str, saved: Automation | None, event: _Event, action: SendWebhook
) -> tuple[Automation, Outcome]:
    if saved is None:
        return api.create_automation(event >> action, name=name), "created"
    if _is_unchanged(saved, event, action):
        return saved, "unchanged"
    changed = api.update_automation(saved, event=event, action=action, scope=event.scope)
    return changed, "updated"


def _is_unchanged(saved: Automation, event: _Event, action: SendWebhook) -> bool:
    return (
        isinstance(saved.action, SavedWebhookAction)
        and saved.action.integration.id == action.integration_id
        and saved.action.request_payload == action.request_payload
        and saved.scope.id == event.scope.id
        and saved.event.event_type == event.event_type
        and dict(saved.event.filter).get("filter") == event.filter  # the SDK wraps it
    )


def _by_hand(triggers: Iterable[_Trigger], name: str, url: str | None) -> str:
    return f"""Create it in the W&B App, because the SDK cannot:
Team settings > Webhooks > New webhook (needs a Pro or Enterprise plan)
- name: {name}
- URL: {url or "https://YOUR-HOST/webhook, where `weighbridge webhook` listens"}
- access token: a team secret with the value of WEIGHBRIDGE_WEBHOOK_TOKEN
- secret: a team secret with the value of WEIGHBRIDGE_WEBHOOK_SECRET
Then run `weighbridge automation create` again. If W&B refuses it:
{_automations_by_hand(triggers, name)}"""


def _automations_by_hand(triggers: Iterable[_Trigger], webhook: str) -> str:
    automations = "\n".join(f"- {_automation_by_hand(trigger)}" for trigger in triggers)
    return f"""In the W&B App, create in the registry's Automations tab > Create automation:
{automations}
each with action type Webhooks, the webhook '{webhook}' and this payload:
{json.dumps(PAYLOAD)}"""


def _automation_by_hand(trigger: _Trigger) -> str:
    if trigger.alias is None:
        event = "A new version is linked to a collection"
    else:
        event = f"An artifact alias is added, with the alias regex {_regex(trigger.alias)}"
    collection = trigger.scope.collection
    within = "the whole registry" if collection == _ANY else f"collection '{collection}'"
    return (
        f"registry '{trigger.registry_name}' of {trigger.scope.entity}, scope {within};"
        f" event: {event}; name: {trigger.name}"
    )
