package app_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/jotgate/jotgate/internal/refusal"
)

// The rules and the dashboard ask for metrics that there are, and for reasons and labels that there are.
func TestRulesAndDashboardAskForWhatIsTold(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("metrics.go")
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for _, m := range regexp.MustCompile(`describe\("([a-z0-9_]+)"`).FindAllStringSubmatch(string(source), -1) {
		told["jotgate_"+m[1]] = true
	}
	if source, err = os.ReadFile("../telemetry/metrics.go"); err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`"(jotgate_[a-z0-9_]+)"`).FindAllStringSubmatch(string(source), -1) {
		for _, suffix := range []string{"", "_bucket", "_count", "_sum"} {
			told[m[1]+suffix] = true
		}
	}
	metric, reason := regexp.MustCompile(`jotgate_[a-z0-9_]+`), regexp.MustCompile(`reason=~?"([^"]+)"`)
	asked := 0
	for file, expressions := range map[string][]string{"rules": rules(t), "dashboard": dashboard(t)} {
		for _, e := range expressions {
			for _, name := range metric.FindAllString(e, -1) {
				if asked++; !told[name] {
					t.Errorf("%s: no metric is called %s, in %s", file, name, e)
				}
			}
			for _, m := range reason.FindAllStringSubmatch(e, -1) {
				for word := range strings.SplitSeq(m[1], "|") {
					whole := regexp.MustCompile("^(?:" + word + ")$")
					if !slices.ContainsFunc(refusal.All(), func(r refusal.Reason) bool { return whole.MatchString(string(r)) }) {
						t.Errorf("%s: nothing is refused for %s, in %s", file, word, e)
					}
				}
			}
		}
	}
	if asked < 15 {
		t.Errorf("rules and dashboard name %d metrics", asked)
	}
}

func rules(t *testing.T) (expressions []string) {
	t.Helper()
	data, err := os.ReadFile("../../deploy/prometheus/jotgate.rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			if r.Alert == "" || r.Expr == "" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("a rule with a hole: %+v", r)
			}
			expressions = append(expressions, r.Expr)
		}
	}
	return expressions
}

func dashboard(t *testing.T) (expressions []string) {
	t.Helper()
	data, err := os.ReadFile("../../deploy/grafana/jotgate.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	if err := json.Unmarshal(data, &board); err != nil {
		t.Fatal(err)
	}
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			expressions = append(expressions, target.Expr)
		}
	}
	return expressions
}
