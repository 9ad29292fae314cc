"""In a file of its own, the last one, because what it waits for takes half a minute."""


def test_time_limit(impatient, expiring):
    fields = impatient.wait_job(expiring, "TIMEOUT", timeout=45)
    assert (fields["Reason"], fields["ExitCode"]) == ("TimeLimit", "0:15")
