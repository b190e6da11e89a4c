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
