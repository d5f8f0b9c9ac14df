package cli

import (
	"encoding/json"
	"runtime/debug"
	"strings"
	"testing"
)

func TestVersionPrintsRevisionAndBuild(t *testing.T) {
	t.Parallel()
	run := func(args ...string) string {
		var out, errs strings.Builder
		code := Run(&Process{
			Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs,
			LookupEnv: func(string) (string, bool) { return "", false },
			Version:   "1.2.3", Revision: "0123abcd", Built: "2026-01-02T03:04:05Z",
		})
		if code != exitFine || errs.Len() > 0 {
			t.Errorf("%v: exit code %d, %s", args, code, &errs)
		}
		return out.String()
	}
	if line := run("version"); !strings.HasPrefix(line, "jotgate 1.2.3 go") ||
		!strings.HasSuffix(line, " revision 0123abcd built 2026-01-02T03:04:05Z\n") {
		t.Errorf("version prints %q", line)
	}
	var v versionReport
	if err := json.Unmarshal([]byte(run("version", "--json")), &v); err != nil {
		t.Fatal(err)
	}
	if v.Version != "1.2.3" || v.Revision != "0123abcd" || v.Built != "2026-01-02T03:04:05Z" {
		t.Errorf("version --json prints %+v", v)
	}
}

func TestStampReadsGosBuildSettings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ modified, revision string }{{"false", "abc"}, {"true", "abc+dirty"}} {
		revision, built := stamp([]debug.BuildSetting{
			{Key: "vcs", Value: "git"},
			{Key: "vcs.revision", Value: "abc"},
			{Key: "vcs.time", Value: "2026-01-02T03:04:05Z"},
			{Key: "vcs.modified", Value: c.modified},
		})
		if revision != c.revision || built != "2026-01-02T03:04:05Z" {
			t.Errorf("modified %s: %q %q", c.modified, revision, built)
		}
	}
	if revision, built := stamp(nil); revision != "" || built != "" {
		t.Errorf("without a stamp: %q %q", revision, built)
	}
}
