package cli

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// patience bounds what must happen at some time; nothing is measured against it.
const patience = 60 * time.Second

const exampleConfig = `version: 1
admin: {listen: ""}
issuer:
  url: https://gate.test
  keys: [{file: keys/main.pem, create: true}]
  clients: [{id: web, may: [issue_codes], delegate: [{tenant: "*", actions: [READ]}]}]
roles: {reader: [{tenant: "{tenant}", actions: [READ]}]}
revocations: {file: revoked}
routes: [{path: "/t/{tenant}/", require: {tenant_from: path.tenant, action: READ}, upstream: "http://127.0.0.1:3000"}]
`

// Every command's help teaches by examples, and each of them works as it stands there, in a folder with the files that
// they name.
func TestEveryExampleOfTheHelpWorks(t *testing.T) {
	t.Parallel()
	// What an example ends with where it is not 0, and what keeps one from lasting for ever.
	ends := map[string]int{
		"jotgate serve --config faulty.yaml":                                  exitConfig,
		"jotgate diff running.yaml config.yaml":                               exitOpens,
		"jotgate diff running.yaml config.yaml --log access.log":              exitOpens,
		"jotgate reload --config config.yaml":                                 exitFailed, // no gate runs
		"jotgate reload --config config.yaml --json":                          exitFailed,
		"jotgate healthcheck --config config.yaml":                            exitFailed,
		"jotgate healthcheck --url http://127.0.0.1:1/readyz --timeout 500ms": exitFailed,
	}
	ours := strings.NewReplacer("jotgate serve --config config.yaml", "jotgate serve --config faulty.yaml",
		"jotgate demo", "jotgate demo --listen 127.0.0.1:0 --once", "127.0.0.1:9090", "127.0.0.1:1")
	model, ran := exampleFolder(t), map[string]bool{}
	for _, c := range commands() {
		text, examples := c.examples()
		if strings.Contains(text, "\n  jotgate ") || len(examples) == 0 {
			t.Errorf("%s: the examples %q are not the last paragraph", c.name, examples)
		}
		named := regexp.MustCompile(`\bjotgate ` + c.name + `\b`)
		for _, example := range examples {
			if !named.MatchString(example) {
				t.Errorf("%s: the example %q is none of it", c.name, example)
			}
			line := ours.Replace(example)
			ran[line] = true
			t.Run(example, func(t *testing.T) {
				t.Parallel()
				folder := t.TempDir()
				if err := os.CopyFS(folder, os.DirFS(model)); err != nil {
					t.Fatal(err)
				}
				if out, code := bash(t, folder, line); code != ends[line] {
					t.Errorf("it ends with %d, want %d\n%s", code, ends[line], out)
				}
			})
		}
	}
	for line := range ends {
		if !ran[line] {
			t.Errorf("there is no example %q", line)
		}
	}
}

// exampleFolder has the files that examples name.
func exampleFolder(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	for name, text := range map[string]string{
		"config.yaml": exampleConfig, "running.yaml": strings.ReplaceAll(exampleConfig, "action: READ}", "action: WRITE}"),
		"access.log":  `{"log":"access","msg":"request","method":"GET","host":"a","path":"/nowhere","status":404}` + "\n",
		"faulty.yaml": "version: 2\n", "web.secret": strings.Repeat("s", 43) + "\n",
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, code := bash(t, folder, "mkdir keys && jotgate mint --config config.yaml --client web --role reader --tenant "+
		"acme --sub alice 2> log | tee token > stolen.jwt")
	if code != 0 {
		t.Fatalf("mint: exit code %d\n%s", code, out)
	}
	return folder
}

// bash runs a script in which jotgate is this test's binary.
func bash(t *testing.T, folder, script string) (out string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-o", "pipefail", "-c", script)
	cmd.Dir = folder
	var both bytes.Buffer
	cmd.Stdout, cmd.Stderr = &both, &both
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return both.String(), exit.ExitCode()
	case err != nil:
		t.Fatal(err)
	}
	return both.String(), 0
}

// Every command tells what it does and how it is called, by --help as by help.
func TestEveryCommandHasHelp(t *testing.T) {
	t.Parallel()
	for _, c := range commands() {
		help := func(args ...string) string {
			var out, errs strings.Builder
			code := Run(&Process{
				Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs,
				LookupEnv: func(string) (string, bool) { return "", false },
			})
			if code != exitFine || errs.Len() > 0 {
				t.Errorf("%v: exit code %d, %s", args, code, &errs)
			}
			return out.String()
		}
		long := help(c.name, "--help")
		if !strings.HasPrefix(long, "Usage: jotgate "+c.name) || !strings.Contains(long, "\nExamples:\n  ") {
			t.Errorf("%s --help: %s", c.name, long)
		}
		if short := help("help", c.name); short != long {
			t.Errorf("help %s differs from %s --help", c.name, c.name)
		}
	}
}
