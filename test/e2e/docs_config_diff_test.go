package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

const comparedPolicy = `version: 1
issuer: {url: http://shop, keys: [{file: k.pem}]}
routes:
  - {path: /me, require: authenticated, upstream: "http://127.0.0.1:3000"}
`

// TestTheConfigDiffWorkflow plays the step of examples/github-actions that compares, on a pull request that opens a
// route, one that changes nothing, and one whose config has a fault.
func TestTheConfigDiffWorkflow(t *testing.T) {
	t.Parallel()
	var workflow struct {
		Jobs map[string]struct {
			Steps []struct {
				ID, Run string
				Env     map[string]string
			}
		}
	}
	err := yaml.Unmarshal([]byte(readFile(t, "examples/github-actions/config-diff.yml")), &workflow)
	if err != nil {
		t.Fatal(err)
	}
	steps := workflow.Jobs["diff"].Steps
	i := slices.IndexFunc(steps, func(s struct {
		ID, Run string
		Env     map[string]string
	},
	) bool {
		return s.ID == "compare"
	})
	if i < 0 || steps[i].Env["CONFIG"] != "config.yaml" {
		t.Fatalf("%+v", steps)
	}
	for _, c := range []struct{ name, config, code, comment string }{
		{
			"opens", strings.ReplaceAll(comparedPolicy, "require: authenticated", "public: true"), "5",
			"`config.yaml` **opens what is closed**:\n\n    opens  any method of /me  without a token\n    1 change\n",
		},
		{
			"the same", comparedPolicy + "# a comment\n", "0",
			"`config.yaml` opens nothing:\n\n    nothing is decided otherwise\n",
		},
		{
			"a fault", comparedPolicy + "```: [a](http://evil.example)\n", "3",
			"`config.yaml` cannot be compared:\n\n    config.yaml:5:1: ",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			folder, output := t.TempDir(), filepath.Join(t.TempDir(), "output")
			git := func(args ...string) string {
				t.Helper()
				cmd := exec.CommandContext(t.Context(), "git", append([]string{
					"-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false",
				}, args...)...)
				cmd.Dir = folder
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("git %s: %v\n%s", args, err, out)
				}
				return strings.TrimSpace(string(out))
			}
			write := func(text string) {
				if err := os.WriteFile(filepath.Join(folder, "config.yaml"), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				git("add", "config.yaml")
				git("commit", "--quiet", "--message", "config")
			}
			git("init", "--quiet")
			write(comparedPolicy)
			base := git("rev-parse", "HEAD")
			write(c.config)
			step := exec.CommandContext(t.Context(), "bash", "-e", "-o", "pipefail", "-c", steps[i].Run)
			step.Dir = folder
			step.Env = append(os.Environ(), "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"), "CONFIG=config.yaml",
				"BASE="+base, "GITHUB_OUTPUT="+output, "GITHUB_STEP_SUMMARY="+output+".summary")
			if out, err := step.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if got := readFile(t, output); got != "code="+c.code+"\n" {
				t.Errorf("%q, want code %s", got, c.code)
			}
			comment := readFile(t, filepath.Join(folder, "comment.md"))
			if !strings.HasPrefix(comment, c.comment) || c.code != "3" && comment != c.comment {
				t.Errorf("%s\nwant %s", comment, c.comment)
			}
			for line := range strings.Lines(comment[strings.Index(comment, "\n\n")+2:]) {
				if !strings.HasPrefix(line, "    ") { // all that a config says is code
					t.Errorf("%q", line)
				}
			}
		})
	}
}
