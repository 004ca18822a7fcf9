"""What a launched model server is given, and what it is not."""

from pathlib import Path

from serving.lifecycle import launch

ENVIRON = {
    "PATH": "/bin",
    "HOME": "/h",
    "MLFLOW_TRACKING_URI": "u",
    "https_proxy": "http://user:word@proxy",
    "OMP_NUM_THREADS": "1",
    "GITHUB_TOKEN": "t",
    "PINRAIL_WEBHOOK_SECRET": "s",
    "AWS_SECRET_ACCESS_KEY": "k",
    "LD_PRELOAD": "x",
    "PYTHONPATH": "x",
}


def test_a_server_gets_what_it_needs_to_run_and_to_download_and_nothing_else() -> None:
    kept = {"PATH", "HOME", "MLFLOW_TRACKING_URI", "https_proxy", "OMP_NUM_THREADS"}
    assert launch.environment(ENVIRON, registry=True).keys() == kept


def test_a_server_that_need_not_download_gets_no_credentials() -> None:
    assert launch.environment(ENVIRON, registry=False).keys() == {"PATH", "HOME", "OMP_NUM_THREADS"}


def test_a_container_gets_the_thread_settings_alone() -> None:
    assert launch.thread_settings(ENVIRON) == {"OMP_NUM_THREADS": "1"}


def test_an_option_without_a_value_is_left_out() -> None:
    options = launch.options({"model": "m", "stage": None}, Path("/cache"), Path("/s"))
    assert options == ["--model=m", "--cache=/cache", "--control=/s"]
