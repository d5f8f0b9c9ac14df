package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const recipesFile = "docs/recipes.md"

// recipeVariables stand for the secrets that the recipes' configs take from the environment.
var recipeVariables = []string{
	"ACCOUNTS_SECRET=", "SHOP_SECRET=", "WEB_SECRET=", "ADMIN_TOKEN=",
}

// recipeConfigs are the configs of the recipes, by the names that their first lines say.
func recipeConfigs(t *testing.T, file string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	configs := map[string]string{}
	for _, m := range regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		first, _, _ := strings.Cut(m[1], "\n")
		name, ok := strings.CutPrefix(first, "# ")
		if !ok || !strings.HasSuffix(name, ".yaml") || configs[name] != "" {
			t.Fatalf("a config begins with %q, want a name of its own, as in # gate.yaml", first)
		}
		configs[name] = m[1]
	}
	return configs
}

func TestTheRecipesConfigsAreFine(t *testing.T) {
	t.Parallel()
	configs := recipeConfigs(t, recipesFile)
	if len(configs) < 5 {
		t.Errorf("there are %d configs", len(configs))
	}
	folder := t.TempDir()
	var env []string
	for _, v := range recipeVariables {
		env = append(env, v+strings.Repeat("x", 43))
	}
	for name, text := range configs {
		writeFile(t, filepath.Join(folder, name), []byte(text))
		p := start(t, folder, env, "check", "--config", name)
		if code := p.exit(t); code != 0 || p.stderr.String() != "" {
			t.Errorf("check of %s: exit code %d, %s", name, code, p.stderr)
		}
		if !strings.Contains(p.stdout.String(), name+" is fine: ") {
			t.Errorf("check of %s: %s", name, p.stdout)
		}
	}
}

// Each recipe's commands are played in one folder, before an app that answers everything.
func TestTheRecipesWorkAsTheySay(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(recipesFile)
	if err != nil {
		t.Fatal(err)
	}
	if all, played := shellBlocks(t, recipesFile), joined(markedBlocks(t, recipesFile, "run")); all != played {
		t.Error("a block of commands is not marked <!-- run -->")
	}
	app := anyApp(t)
	for _, section := range strings.Split(string(text), "\n## ")[1:] {
		title, _, _ := strings.Cut(section, "\n")
		var commands string
		for _, m := range markedBlock.FindAllStringSubmatch(section, -1) {
			commands += m[3]
		}
		if commands == "" {
			continue
		}
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			out := playRecipe(t, recipesFile, commands, app.URL)
			for _, m := range regexp.MustCompile("(?ms)^```text\n(.*?)^```$").FindAllStringSubmatch(section, -1) {
				if !strings.Contains(out, strings.TrimSpace(m[1])) {
					t.Errorf("it does not say %sbut:\n%s", m[1], out)
				}
			}
		})
	}
}

// playRecipe plays commands with ports of this test's own, and without promises of statuses if there are no requests.
func playRecipe(t *testing.T, file, commands, app string) string {
	t.Helper()
	folder := t.TempDir()
	own := strings.NewReplacer("127.0.0.1:8080", freeAddress(t), "127.0.0.1:9090", freeAddress(t), "http://127.0.0.1:3000",
		app)
	for name, config := range recipeConfigs(t, file) {
		writeFile(t, filepath.Join(folder, name), []byte(own.Replace(config)))
	}
	path := fmt.Sprintf("PATH=%s:%s", filepath.Dir(binary), os.Getenv("PATH"))
	return play(t, folder, []string{path, "JOTGATE_CONFIG="}, own.Replace(commands))
}

// anyApp answers everything.
func anyApp(t *testing.T) *httptest.Server {
	t.Helper()
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_,
			_ = io.WriteString(w, "the app\n")
	}))
	t.Cleanup(app.Close)
	return app
}

// The guide to rotation is played from its first block to its last against one gate.
func TestTheRotationGuideWorksStepByStep(t *testing.T) {
	t.Parallel()
	const guide = "docs/rotation.md"
	all, played := shellBlocks(t, guide), joined(markedBlocks(t, guide, "run"))
	if all != played {
		t.Error("a block of commands is not marked <!-- run -->")
	}
	playRecipe(t, guide, played, anyApp(t).URL)
}
