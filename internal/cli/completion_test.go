package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func completionFolder(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	for _, name := range []string{"config.yaml", "token", "gate/main.pem"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(folder, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

var commandWords = append(names(commands()), "help")

// bashComplete asks bash what comes at the end of a line, as its Tab does.
const bashComplete = `source ../jotgate.bash
complete -p jotgate > /dev/null || exit 9
COMP_WORDS=(%) COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_jotgate
printf '%s\n' "${COMPREPLY[@]}"`

func TestCompletionsForBash(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	if out, code := bash(t, parent, "jotgate completion bash > jotgate.bash"); code != 0 {
		t.Fatalf("exit code %d: %s", code, out)
	}
	folder := filepath.Join(parent, "folder")
	if err := os.CopyFS(folder, os.DirFS(completionFolder(t))); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		words string
		want  []string
	}{
		{`jotgate ''`, commandWords},
		{`jotgate ch`, []string{"check"}},
		{`jotgate he`, []string{"healthcheck", "help"}},
		{`jotgate --c`, []string{"--config"}},
		{`jotgate --config ''`, []string{"config.yaml", "gate", "token"}},
		{`jotgate check ''`, []string{"--config", "--explain", "--json", "--help"}},
		{`jotgate check --j`, []string{"--json"}},
		{`jotgate check --config co`, []string{"config.yaml"}},
		{`jotgate check --config = co`, []string{"config.yaml"}},
		{`jotgate check --config =`, []string{"config.yaml", "gate", "token"}},
		{`jotgate keygen --alg ''`, []string{"ES256", "RS256", "EdDSA"}},
		{`jotgate mint --client ''`, []string{""}},
		{`jotgate mint --client web --r`, []string{"--role"}},
		{`jotgate hash @to`, []string{"@token"}},
		{`jotgate hash @ to`, []string{"token"}},
		{`jotgate hash @`, []string{"config.yaml", "gate", "token"}},
		{`jotgate explain ''`, []string{
			"-", "@", "--config", "--header", "--json", "--listener", "--request", "--request-id", "--unverified", "--help",
		}},
		{`jotgate init ''`, []string{"gate"}},
		{`jotgate completion ''`, []string{"bash", "fish", "zsh"}},
		{`jotgate help rev`, []string{"revoke"}},
		{`jotgate nonsense ''`, []string{""}},
	} {
		out, code := bash(t, folder, strings.Replace(bashComplete, "%", c.words, 1))
		got := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
		if code != 0 || !sameWords(got, c.want) {
			t.Errorf("%s: %q (exit code %d), want %q", c.words, got, code, c.want)
		}
	}
}

func sameWords(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

// The scripts know every command and every flag. Where the shell itself is at hand, it is asked as well.
func TestCompletionsForZshAndFish(t *testing.T) {
	t.Parallel()
	folder := completionFolder(t)
	for shell, ask := range map[string]map[string][]string{
		"fish": {
			"complete -C 'jotgate ch'":                {"check"},
			"complete -C 'jotgate check --j'":         {"--json"},
			"complete -C 'jotgate keygen --alg '":     {"ES256", "EdDSA", "RS256"},
			"complete -C 'jotgate hash @to'":          {"@token"},
			"complete -C 'jotgate completion '":       {"bash", "fish", "zsh"},
			"complete -C 'jotgate check --config co'": {"config.yaml"},
		},
		"zsh": {"autoload -U compinit; compinit -u -D; functions _jotgate > /dev/null || source jotgate.zsh; print " +
			"${_comps[jotgate]}": {"_jotgate"}},
	} {
		script, code := bash(t, folder, "jotgate completion "+shell)
		if code != 0 {
			t.Fatalf("%s: exit code %d\n%s", shell, code, script)
		}
		flag := map[string]string{"fish": " -l %", "zsh": "--%"}[shell]
		for _, d := range described(&Process{}) {
			if !strings.Contains(script, d.Name) {
				t.Errorf("%s: %s is missing", shell, d.Name)
			}
			for _, f := range d.Flags {
				if !strings.Contains(script, strings.Replace(flag, "%", f.Name, 1)) {
					t.Errorf("%s: --%s of %s is missing", shell, f.Name, d.Name)
				}
			}
		}
		file := filepath.Join(folder, "jotgate."+shell)
		if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := exec.LookPath(shell); err != nil {
			continue // no one here to ask; that the script is whole was seen above
		}
		if out, code := bash(t, folder, shell+" -n "+file); code != 0 {
			t.Errorf("%s does not read its script: %s", shell, out)
		}
		for question, want := range ask {
			load := map[string]string{"fish": "source jotgate.fish; ", "zsh": ""}[shell]
			out, code := bash(t, folder, "HOME=$PWD "+shell+" -c \""+load+strings.ReplaceAll(question, "$", `\$`)+"\"")
			var got []string
			for line := range strings.Lines(out) {
				word, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
				got = append(got, word)
			}
			if code != 0 || !sameWords(got, want) {
				t.Errorf("%s, asked %s: %q (exit code %d), want %q", shell, question, got, code, want)
			}
		}
	}
}
