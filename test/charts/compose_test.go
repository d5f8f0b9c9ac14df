package charts

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
)

// The Compose file is what Compose's own loader takes for correct; the gate's config in it checks, and so does
// Prometheus's.
func TestTheComposeFileHoldsTogether(t *testing.T) {
	t.Parallel()
	load := func(environment ...string) (map[string]string, []string, error) {
		options, err := cli.NewProjectOptions([]string{"../../deploy/compose.yaml"}, cli.WithEnv(environment))
		if err != nil {
			return nil, nil, err
		}
		project, err := options.LoadProject(t.Context())
		if err != nil {
			return nil, nil, err
		}
		contents := map[string]string{}
		for name, c := range project.Configs {
			contents[name] = c.Content
		}
		for _, s := range project.Services {
			for _, c := range s.Configs {
				if contents[c.Source] == "" {
					t.Errorf("%s mounts the config %s, which is empty", s.Name, c.Source)
				}
			}
			for _, v := range s.Volumes {
				if v.Type == "bind" {
					if _, err := os.Stat(v.Source); err != nil {
						t.Errorf("%s mounts what is not there: %v", s.Name, err)
					}
				}
			}
			if s.Build != nil {
				if _, err := os.Stat(s.Build.Context); err != nil {
					t.Errorf("%s is built from what is not there: %v", s.Name, err)
				}
			}
		}
		return contents, project.ServiceNames(), nil
	}
	if _, _, err := load(); err == nil || !strings.Contains(err.Error(), "openssl rand -base64 32") {
		t.Errorf("without the secret: %v", err)
	}
	contents, services, err := load("JOTGATE_CODE_SECRET=a-secret-of-more-than-22-characters")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(services, " "); got != "app gate grafana prometheus redis" {
		t.Errorf("the services are %s", got)
	}

	folder := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		file := filepath.Join(folder, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	check := exec.Command(binary, "check", "--config",
		write("config.yaml", strings.ReplaceAll(contents["gate"], "/etc/jotgate/", folder+"/")))
	check.Env = append(os.Environ(), "CODE_SECRET="+strings.Repeat("s", 44))
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("jotgate check: %v\n%s", err, out)
	}
	rules, err := filepath.Abs("../../deploy/prometheus/jotgate.rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("promtool", "check", "config", write("prometheus.yml",
		strings.ReplaceAll(contents["prometheus"], "/etc/prometheus/jotgate.rules.yaml", rules))).CombinedOutput()
	if err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
	if !strings.Contains(contents["prometheus"], "gate:9092") ||
		!strings.Contains(contents["gate"], `metrics_listen: ":9092"`) {
		t.Error("Prometheus asks another port than the gate's metrics have")
	}
}
