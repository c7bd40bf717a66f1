"""The doctor names the first thing that is broken, and what mends it, instead of breaking itself."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from genrm_rl.bootstrap.preflight import check_settings
from genrm_rl.config import RunConfig
from genrm_rl.errors import EnvironmentProblem
from genrm_rl.runtime.import_probe import cure_for, probe_imports
from genrm_rl.runtime.machine_checks import check_compiler, check_disk, check_shared_memory
from genrm_rl.selftest.doctor import check_data, check_models, check_versions, print_report, run_doctor


@pytest.fixture
def broken(tmp_path):
    """Write modules with the given source and return an environment in which they are found first."""

    def write(**sources: str) -> dict[str, str]:
        for name, source in sources.items():
            (tmp_path / f"{name}.py").write_text(source)
        return {**os.environ, "PYTHONPATH": str(tmp_path)}

    return write


def test_the_first_broken_import_is_named_and_those_behind_it_are_not_tried(broken):
    environment = broken(first="", second="raise ImportError('no such symbol')", third="raise ValueError")
    probe = probe_imports(["json", "first", "second", "third"], environment)
    assert probe.imported == ("json", "first")
    assert (probe.broken, probe.error) == ("second", "ImportError: no such symbol")
    assert "make setup" in probe.cure


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended by SIGSEGV"),
        ("import os; os._exit(3)", "exit status 3"),
        ("import sys; sys.exit('gone')", "gone"),
    ],
)
def test_a_module_that_ends_the_process_is_named(broken, source, error):
    probe = probe_imports(["json", "crashing"], broken(crashing=source))
    assert (probe.broken, probe.error) == ("crashing", error)


def test_a_module_that_hangs_is_told_after_the_deadline(broken):
    probe = probe_imports(["hanging"], broken(hanging="import time; time.sleep(3600)"), deadline=2.0)
    assert probe.broken is not None
    assert "no answer within 2 s" in probe.error


def test_a_module_that_breaks_only_when_called_is_found(broken):
    environment = broken(lazy="def load():\n    raise RuntimeError('only now')")
    assert probe_imports(["lazy"], environment).broken is None
    assert probe_imports(["lazy:load"], environment).broken == "lazy:load"


def test_cuda_torchvision_beside_cpu_torch_is_found_before_transformers_hides_it(broken):
    environment = broken(torchvision="raise RuntimeError('operator torchvision::nms does not exist')")
    probe = probe_imports(["json", "?torchvision", "transformers"], environment)
    assert probe.broken == "torchvision"
    assert "pip uninstall -y torchvision" in probe.cure


def test_an_optional_module_that_is_absent_is_no_problem():
    assert probe_imports(["?genrm_rl_no_such_module", "json"]).imported == ("json",)


@pytest.mark.parametrize(
    ("module", "text", "cure"),
    [
        ("transformers", "RuntimeError: operator torchvision::nms does not exist", "uninstall -y torchvision"),
        (
            "ray.serve",
            "AttributeError: 'FieldDescriptor' has no attribute 'label'",
            "protobuf==6.33.6",
        ),
        ("vllm", "ImportError: libcudart.so.13: cannot open shared object file", "CUDA build"),
        ("torch", "OSError: /lib/libc.so.6: version `GLIBC_2.28' not found", "glibc 2.28"),
        ("torch", "ended by SIGILL", "AVX2"),
        ("vllm", "ended by SIGKILL", "memory"),
        ("peft", "ModuleNotFoundError: No module named 'peft'", "make setup"),
        ("deepspeed", "undefined symbol: _ZN3c10", "other versions"),
        ("openrlhf", "ImportError: flash_attn_2_cuda.so: undefined symbol", "uninstall -y flash-attn"),
    ],
)
def test_known_traps_have_their_cure(module, text, cure):
    assert cure in cure_for(module, text)


def test_the_report_is_unhealthy_and_prints_the_cure(broken):
    report = run_doctor(
        modules=["json", "torn"], environment=broken(torn="raise ImportError('libnvrtc.so is missing')")
    )
    assert not report.healthy
    assert [check.name for check in report.problems if check.area == "import"] == ["torn"]
    output = io.StringIO()
    print_report(report, Console(file=output, width=200))
    assert "libnvrtc.so is missing" in output.getvalue()
    assert "a CUDA build is on a CPU machine" in output.getvalue()
    assert "everything that is needed is here" not in output.getvalue()


def test_the_command_exits_non_zero_and_names_the_module(broken):
    environment = broken(transformers="raise RuntimeError('torn')")
    command = [sys.executable, "-m", "genrm_rl.cli", "doctor"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 1, done.stderr
    assert "transformers: first that breaks: RuntimeError: torn" in done.stdout


def test_a_version_outside_the_lattice_is_named(tmp_path, monkeypatch):
    folder = tmp_path / "protobuf-7.1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: protobuf\nVersion: 7.1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    (found,) = [check for check in check_versions() if check.name == "protobuf"]
    assert found.status == "missing"
    assert "7.1.0" in found.detail and "protobuf==6.33.6" in found.cure


@pytest.mark.parametrize(("absent", "status"), [(True, "warning"), (False, "ok")])
def test_a_python_without_openrlhf_is_told_what_works_and_is_no_reason_to_stop(tmp_path, monkeypatch, absent, status):
    folder = tmp_path / "genrm_rl-9.dist-info"
    folder.mkdir()
    wanted = "Requires-Dist: openrlhf==0.11.2; python_version < '3.0'"
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: genrm-rl\nVersion: 9\n{wanted}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    if absent:
        monkeypatch.setitem(sys.modules, "openrlhf", None)
        monkeypatch.setattr(sys, "version_info", (3, 13, 0, "final", 0))
    (found,) = [check for check in check_versions() if check.name == "openrlhf"]
    assert found.status == status
    assert ("serving, judging and evaluating work" in found.detail) is absent


def test_jobs_that_learn_stop_before_they_start_where_openrlhf_is_absent(monkeypatch):
    judge, learn = ({"bootstrap": {"methods": [method]}} for method in ("llm_judge", "star_sft"))
    learn["data"] = {"train": [{"world": "train"}], "test": [{"world": "id"}]}
    judge["data"] = {"test": [{"world": "id"}]}
    monkeypatch.setitem(sys.modules, "openrlhf", None)
    check_settings(RunConfig.model_validate(judge))
    with pytest.raises(EnvironmentProblem, match="make setup"):
        check_settings(RunConfig.model_validate(learn))
    monkeypatch.setattr(sys, "version_info", (3, 13, 0, "final", 0))
    with pytest.raises(EnvironmentProblem, match=r"training needs Python 3\.11 or 3\.12"):
        check_settings(RunConfig.model_validate(learn))


def test_two_builds_of_vllm_at_once_are_told(tmp_path, monkeypatch):
    folder = tmp_path / "vllm-0.29.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.29.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert any("both installed" in check.detail for check in check_versions())


def test_a_missing_compiler_is_told(monkeypatch, tmp_path):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    check = check_compiler()
    assert check.status == "missing" and "apt-get install g++" in check.cure


def test_a_compiler_that_compiles_nothing_is_told(monkeypatch):
    monkeypatch.setenv("CXX", "false")
    check = check_compiler()
    assert check.status == "missing" and "compiles nothing here" in check.detail


def test_a_folder_that_does_not_exist_yet_is_judged_by_its_parent(tmp_path):
    assert check_disk("disk", tmp_path / "a" / "b").detail.endswith(str(tmp_path / "a" / "b"))


def test_absent_shared_memory_is_a_warning_with_a_cure(tmp_path):
    check = check_shared_memory(tmp_path / "none")
    assert check.status == "warning" and "--shm-size" in check.cure


def test_models_and_data_of_the_configuration_are_looked_for(tmp_path):
    (tmp_path / "good.jsonl").write_text('{"prompt": "p", "chosen": "a", "rejected": "b"}\n')
    (tmp_path / "empty.jsonl").write_text("")
    config = RunConfig.model_validate(
        {
            "model": {"name": str(tmp_path / "nowhere")},
            "data": {
                "root": str(tmp_path),
                "train": [{"path": "good.jsonl"}, {"world": "train"}],
                "test": [{"path": "absent.jsonl"}, {"path": "empty.jsonl"}],
            },
        }
    )
    states = {check.name: check.status for check in (*check_models(config.model), *check_data(config.data))}
    assert states["tiny"] == "ok"
    assert states[str(tmp_path / "nowhere")] == "missing"
    assert (states["good"], states["train"]) == ("ok", "ok")
    assert (states["absent"], states["empty"]) == ("missing", "missing")
