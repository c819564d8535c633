"""What a job takes along and what is refused before anything is sent; sending itself is in tests/cluster."""

import http.server
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainable.errors import UserError
from tune.cli import parse_command
from tune.jobs.job_folder import check_results_last, is_job_folder
from tune.jobs.job_parcel import MAX_MIB, chosen_variables, entrypoint, find_upload
from tune.jobs.job_server import JobLog, chosen_address, is_open_wire
from tune.verbs.submit import exit_status


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tune").mkdir()
    (tmp_path / "tune" / "cli.py").write_text("pass\n")
    return tmp_path


def test_an_upload_honours_both_ignore_files_and_leaves_secrets_out_by_itself(folder):
    (folder / ".gitignore").write_text("studies/\n")
    (folder / "tune" / ".rayignore").write_text("*.bin\n")
    for name in ("studies/a.txt", "tune/large.bin", ".env", "sub/.env.local", "notes.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")

    upload = find_upload(folder)

    assert set(upload.sizes) == {"tune/cli.py", "notes.txt", ".gitignore", "tune/.rayignore"}
    assert upload.left_out == (".env",)


def test_too_large_an_upload_names_its_largest_files_and_the_remedy(folder):
    with (folder / "weights.bin").open("wb") as file:
        file.truncate(MAX_MIB * 2**20)

    with pytest.raises(UserError, match=r"weights\.bin \(100\.0 MiB\), tune/cli\.py .*\.rayignore"):
        find_upload(folder)


@pytest.mark.parametrize(
    "name",
    ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "HF_TOKEN", "MLFLOW_TRACKING_PASSWORD", "OPENAI_API_KEY",
     "PGPASSWORD", "AZURE_STORAGE_CONNECTION_STRING", "GOOGLE_APPLICATION_CREDENTIALS", "aws_session_token",
     "DB_PWD", "SENTRY_DSN"],
)  # fmt: skip
def test_a_variable_that_looks_like_a_secret_is_not_passed_on_and_its_value_not_shown(name):
    with pytest.raises(UserError, match=name) as error:
        chosen_variables([name], {name: "hunter2"})
    assert "hunter2" not in str(error.value)


def test_variables_that_are_no_secrets_are_passed_on_and_all_mistakes_named_at_once():
    harmless = {
        "AWS_REGION": "eu",
        "AWS_ENDPOINT_URL": "http://s3:9000",
        "MONKEY": "x",
        "HF_HOME": "/hf",
        "AUTHOR": "b",
    }
    assert chosen_variables(list(harmless), harmless) == harmless

    with pytest.raises(UserError) as error:
        chosen_variables(["NOT_SET", "URI"], {"URI": "http://me:hunter2@mlflow"})
    assert len(error.value.problems) == 2
    assert "hunter2" not in str(error.value)


def test_a_command_is_quoted_and_a_password_in_it_refused():
    assert entrypoint(["search", "--space", "a b;c"]) == "python -m tune search --space 'a b;c'"
    with pytest.raises(UserError, match=r"http://\*\*\*@mlflow") as error:
        entrypoint(["search", "--tracking-uri", "http://me:hunter2@mlflow"])
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("command", "n_problems"),
    [
        ("search --tracking-uri http://mlflow:5000", 1),
        ("search --study here --tracking-uri sqlite:///mlflow.db", 2),
        ("search --study /shared/s", 1),
        ("search --study /shared/s --tracking-uri sqlite:////shared/m.db", 0),
        ("search --resume /shared/s", 0),
        ("train", 1),
        ("retrain /shared/s --out retrained", 1),
        ("evaluate /shared/m --no-track", 0),
        ("evaluate models:/beetles@champion --no-track", 1),
        ("evaluate models:/beetles@champion --out /shared/e --tracking-uri http://mlflow:5000", 0),
        ("status somewhere", 0),
    ],
)
def test_in_a_job_s_own_folder_results_that_would_be_lost_are_refused(command, n_problems, tmp_path):
    verb, given = parse_command(command.split())
    job = tmp_path / "runtime_resources" / "working_dir_files" / "_ray_pkg_0"
    assert is_job_folder(job)

    check_results_last(verb.name, given, tmp_path)  # elsewhere a relative path is fine
    if n_problems:
        with pytest.raises(UserError) as error:
            check_results_last(verb.name, given, job)
        assert len(error.value.problems) == n_problems
    else:
        check_results_last(verb.name, given, job)


def test_mlflow_s_address_may_come_from_the_cluster_s_environment(tmp_path, monkeypatch):
    verb, given = parse_command(["search", "--study", "/shared/s"])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")

    check_results_last(verb.name, given, tmp_path / "working_dir_files")


@pytest.mark.parametrize(
    ("state", "code", "status"),
    [
        ("SUCCEEDED", 0, 0),
        ("FAILED", 2, 2),
        ("FAILED", 130, 130),
        ("FAILED", -9, 137),
        ("FAILED", None, 1),
        ("STOPPED", None, 130),
    ],
)
def test_the_exit_status_is_the_command_s(state, code, status):
    assert exit_status(state, code) == status


def test_a_reader_who_has_had_enough_is_told_from_a_broken_connection():
    reader, writer = os.pipe()
    os.close(reader)
    log = JobLog(lambda text: os.write(writer, text.encode()))

    with pytest.raises(BrokenPipeError):
        log.take("one\n")
    os.close(writer)
    assert log.reader_gone is not None


def test_a_log_that_begins_anew_is_shown_once():
    shown: list[str] = []
    log = JobLog(shown.append)
    for texts in (["one\n", "two\n"], ["one\ntwo", "\nthree\n"], ["one\n"], ["one\ntwo\nthree\nfour\n"]):
        log.restart()
        for text in texts:
            log.take(text)

    assert "".join(shown) == "one\ntwo\nthree\nfour\n"


@pytest.mark.parametrize(
    ("address", "is_open"),
    [
        ("http://127.0.0.1:8265", False),
        ("http://localhost:1", False),
        ("https://head:1", False),
        ("http://head:1", True),
    ],
)
def test_an_unencrypted_way_to_another_machine_is_told_of(address, is_open):
    assert is_open_wire(address) is is_open


def test_the_address_is_that_of_a_job_server():
    assert chosen_address(None, {}) == "http://127.0.0.1:8265"
    assert chosen_address("head:8265", {"RAY_API_SERVER_ADDRESS": "http://other:1"}) == "http://head:8265"
    assert chosen_address(None, {"RAY_API_SERVER_ADDRESS": "https://other:1/"}) == "https://other:1"
    for wrong in ("ray://head:10001", "http://head", "http://me:hunter2@head:8265", "head:port"):
        with pytest.raises(UserError) as error:
            chosen_address(wrong, {})
        assert "hunter2" not in str(error.value)


@pytest.fixture
def submit(cli, folder, monkeypatch):
    """`submit` of a search, from `folder`, to the address given."""
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "")  # and afterwards what it was
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")

    def run(address: str, *words: str):
        options = ["--address", address, "--working-dir", str(folder), *words]
        return cli("submit", *options, "--", "search", "--study", "/shared/s")

    return run


def test_an_address_where_nobody_answers_is_one_line(submit):
    ended = submit("http://127.0.0.1:9")

    assert ended.status == 2
    assert ended.stderr.count("\n") == 1
    assert "does not answer" in ended.stderr
    assert "ray dashboard" in ended.stderr


@pytest.fixture
def old_cluster() -> Iterator[str]:
    """Answers as a job server of Ray 2.40 does."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"version": "4", "ray_version": "2.40.0", "ray_commit": "0"}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_cluster_of_another_ray_is_one_line(submit, old_cluster):
    ended = submit(old_cluster)

    assert ended.status == 2
    assert ended.stderr == (
        f"error: the cluster's Ray must be 2.55 or newer and below 2.61, but {old_cluster} runs 2.40.0; install "
        "another on its nodes, or take an image rayproject/ray of that range\n"
    )


def test_every_mistake_is_told_before_anything_is_sent(submit):
    ended = submit("http://127.0.0.1:9", "--follow", "--detach", "--job-id", "a b", "--env", "NOT_SET_ANYWHERE")

    assert ended.status == 2
    assert ended.stderr.count("error: ") == 3
    assert os.environ["RAY_API_SERVER_ADDRESS"] == ""
