"""Makes the W&B automations that tell the webhook receiver what the gates watch.

There is one automation for each scope and event, not for each gate: the receiver gives every
delivery to all gates. It checks aliases again, so that an automation may send too much, but never
too little.
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
#: The body of W&B's own examples, with its variables (docs/upstream/wandb-webhooks.md, "Payload").
PAYLOAD = {name: f"${{{name}}}" for name in _VARIABLES}

_WILDCARD = re.compile(r"(\*|\?|\[.+?\])")
_EVERY = "*"  # the collection of a scope that is a whole registry
# W&B documents no wording for a plan without automations.
_PLAN = re.compile(r"\bplan\b|upgrade|not supported|not enabled", re.I)

_Scope = Registry | ArtifactCollection
_Event = OnLinkArtifact | OnAddArtifactAlias
Outcome = Literal["created", "updated", "unchanged"]


class MadeAutomation(BaseModel):
    """An automation that W&B has now.

    Attributes:
        name: as W&B shows it.
        event: what fires it, as its deliveries say.
        scope: `org/wandb-registry-NAME/COLLECTION`; the collection is `*` for a whole registry.
        alias: pattern of the aliases that fire it; None for links.
        gates: for which it was made.
        integration: name of the webhook that it sends to.
        enabled: False when a person has switched it off, which stays.
        outcome: what was done about it.
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
    """What fires an automation, which is all that tells one from another."""

    scope: ArtifactRef
    alias: str | None

    @property
    def name(self) -> str:
        event = "link" if self.alias is None else f"alias {self.alias}"
        return f"weighbridge {event} {self.scope.collection_path.replace(REGISTRY_PREFIX, '')}"

    @property
    def registry_name(self) -> str:
        return self.scope.project.removeprefix(REGISTRY_PREFIX)

    def everywhere(self) -> "_Trigger":
        """The same in the whole registry."""
        return self._replace(scope=self.scope.model_copy(update={"collection": _EVERY}))


def create_automations(
    settings: Settings, *, integration: str | None, url: str | None
) -> list[MadeAutomation]:
    """Make the automations that the gates need; done twice, it changes nothing more.

    Args:
        integration: name of W&B's webhook to send to; None where there is only one.
        url: the receiver's address; only a webhook that posts there is used.

    Raises:
        ConfigurationError: W&B has no such webhook, or refuses automations, and then the message
            says what to do by hand; or a registry or a collection does not exist.
        PlatformError: W&B did not answer.
    """
    triggers = _triggers(settings.gates.gates)
    api = wandb_api(settings.wandb_timeout)
    webhook = _webhook(api, integration, url, triggers)
    scopes = {trigger: _scope(api, trigger) for trigger in triggers}
    try:
        return [
            _made(api, trigger, triggers[trigger], scope, webhook)
            for trigger, scope in scopes.items()
        ]
    except WeighbridgeError as error:
        if error.retryable and not _PLAN.search(error.message):
            raise
        by_hand = _automations_by_hand(triggers, webhook.name)
        raise ConfigurationError(error.message, fix=by_hand) from error


def _triggers(gates: Iterable[Gate]) -> dict[_Trigger, set[str]]:
    """What must fire, with the names of its gates.

    A collection needs no automation beside that of its whole registry.
    """
    found: defaultdict[_Trigger, set[str]] = defaultdict(set)
    for gate in gates:
        for pattern in gate.watch:
            trigger = _Trigger(ArtifactRef.parse(pattern), gate.when_alias)
            one = _WILDCARD.search(trigger.scope.collection) is None
            found[trigger if one else trigger.everywhere()].add(gate.name)
    for trigger in list(found):
        everywhere = trigger.everywhere()
        if trigger != everywhere and everywhere in found:
            found[everywhere] |= found.pop(trigger)
    return dict(found)


def _webhook(
    api: wandb.Api, name: str | None, url: str | None, triggers: Iterable[_Trigger]
) -> WebhookIntegration:
    with wandb_call("list the team's webhooks"):
        known = list(api.webhook_integrations())
    fitting = [one for one in known if name in (None, one.name) and url in (None, one.url_endpoint)]
    if len(fitting) == 1:
        return fitting[0]
    have = ", ".join(f"{one.name} ({one.url_endpoint})" for one in known)
    if fitting:
        raise ConfigurationError(
            f"The W&B team has more than one webhook: {have}.", fix="Name one with --integration."
        )
    asked = "".join((f" '{name}'" if name else "", f" to {url}" if url else ""))
    raise ConfigurationError(
        f"The W&B team has no webhook{asked}{f'; it has {have}' if have else ''}.",
        fix=_by_hand(triggers, name or "weighbridge", url),
    )


def _scope(api: wandb.Api, trigger: _Trigger) -> _Scope:
    path = trigger.scope.collection_path
    with wandb_call(f"read {path}"):
        registry = api.registry(trigger.registry_name, organization=trigger.scope.entity)
        if trigger.scope.collection == _EVERY:
            return registry
        for collection in registry.collections(filter={"name": trigger.scope.collection}):
            return collection
    raise ConfigurationError(
        f"There is no collection {path} yet, so that W&B cannot watch it.",
        fix="Link a first version to it, or watch it with a wildcard, which takes the registry.",
    )


def _event(trigger: _Trigger, scope: _Scope) -> _Event:
    if trigger.alias is None:
        return OnLinkArtifact(scope=scope)
    matching = ArtifactEvent.alias.matches_regex(_regex(trigger.alias))
    return OnAddArtifactAlias(scope=scope, filter=matching)


def _regex(pattern: str) -> str:
    """A shell pattern as any engine reads it; a set such as [ab] becomes any character."""
    parts = (
        ".*" if part == "*" else "." if _WILDCARD.fullmatch(part) else re.escape(part)
        for part in _WILDCARD.split(pattern)
    )
    return f"^{''.join(parts)}$"


def _made(
    api: wandb.Api, trigger: _Trigger, gates: set[str], scope: _Scope, webhook: WebhookIntegration
) -> MadeAutomation:
    event = _event(trigger, scope)
    action = SendWebhook.from_integration(webhook, payload=PAYLOAD)
    with wandb_call(f"make the automation '{trigger.name}'"):
        # The organisation's entity need not have the organisation's name.
        saved = next(iter(api.automations(scope.entity, name=trigger.name)), None)
        automation, outcome = _saved(api, trigger.name, saved, event, action)
    return MadeAutomation(
        name=automation.name,
        event="LINK_ARTIFACT" if trigger.alias is None else "ADD_ARTIFACT_ALIAS",
        scope=trigger.scope.collection_path,
        alias=trigger.alias,
        gates=tuple(sorted(gates)),
        integration=webhook.name,
        enabled=automation.enabled,
        outcome=outcome,
    )


def _saved(
    api: wandb.Api, name: str, saved: Automation | None, event: _Event, action: SendWebhook
) -> tuple[Automation, Outcome]:
    if saved is None:
        return api.create_automation(event >> action, name=name), "created"
    if _same(saved, event, action):
        return saved, "unchanged"
    changed = api.update_automation(saved, event=event, action=action, scope=event.scope)
    return changed, "updated"


def _same(saved: Automation, event: _Event, action: SendWebhook) -> bool:
    return (
        isinstance(saved.action, SavedWebhookAction)
        and saved.action.integration.id == action.integration_id
        and saved.action.request_payload == action.request_payload
        and saved.scope.id == event.scope.id
        and saved.event.event_type == event.event_type
        and dict(saved.event.filter).get("filter") == event.filter  # the SDK wraps it
    )


def _by_hand(triggers: Iterable[_Trigger], name: str, url: str | None) -> str:
    return f"""Make it in the W&B App, because the SDK cannot:
Team settings > Webhooks > New webhook (needs a Pro or Enterprise plan)
- name: {name}
- URL: {url or "https://YOUR-HOST/webhook, where `weighbridge webhook` listens"}
- access token: a team secret that holds WEIGHBRIDGE_WEBHOOK_TOKEN
- secret: a team secret that holds WEIGHBRIDGE_WEBHOOK_SECRET
Then run `weighbridge automation create` again. If W&B refuses it:
{_automations_by_hand(triggers, name)}"""


def _automations_by_hand(triggers: Iterable[_Trigger], webhook: str) -> str:
    automations = "\n".join(f"- {_automation_by_hand(trigger)}" for trigger in triggers)
    return f"""Make in the W&B App, in the registry's Automations tab > Create automation:
{automations}
each with action type Webhooks, the webhook '{webhook}' and this payload:
{json.dumps(PAYLOAD)}"""


def _automation_by_hand(trigger: _Trigger) -> str:
    if trigger.alias is None:
        event = "A new version is linked to a collection"
    else:
        event = f"An artifact alias is added, with the alias regex {_regex(trigger.alias)}"
    collection = trigger.scope.collection
    within = "the whole registry" if collection == _EVERY else f"collection '{collection}'"
    return (
        f"registry '{trigger.registry_name}' of {trigger.scope.entity}, scope {within};"
        f" event: {event}; name: {trigger.name}"
    )
