import pytest

from schemas.settings import Settings


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://elsewhere:6379/3")
    monkeypatch.setenv("WEIGHBRIDGE_POLL_INTERVAL", "5")
    settings = Settings()
    assert settings.broker_url == "redis://elsewhere:6379/3"
    assert settings.poll_interval == 5


def test_a_secret_is_never_printed(settings: Settings) -> None:
    assert "the-secret" not in repr(settings)
    assert "the-token" not in settings.model_dump_json()


def test_an_engines_url_may_not_hold_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIGHBRIDGE_ENGINE_URL", "https://ada:secret@engine/v1")
    with pytest.raises(ValueError, match="use WEIGHBRIDGE_ENGINE_KEY") as caught:
        Settings()
    assert "secret" not in str(caught.value)
