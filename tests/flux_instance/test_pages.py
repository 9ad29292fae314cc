"""The pages of the executors for Flux run as printed."""

from pages import DOCS, run


def test_the_page_of_the_job_executor(flux, tmp_path):
    run(DOCS / "executors" / "flux_job.md", tmp_path)


def test_the_page_of_the_cluster_executor(flux, tmp_path):
    run(DOCS / "executors" / "flux_cluster.md", tmp_path)
