package app

import (
	"strings"
	"testing"

	"github.com/jotgate/jotgate/config"
)

// TestEveryKeyIsClassified: a key that is new in config/keys.go must be put where the diff of configurations knows what
// a change of it can open. Until then, every change of it counts as widening.
func TestEveryKeyIsClassified(t *testing.T) {
	t.Parallel()
	seen := map[string]rule{}
	for r, text := range rules {
		for line := range strings.Lines(text) {
			words := strings.Fields(line)
			for i, word := range words {
				if i == 0 {
					continue
				}
				path := strings.TrimPrefix(words[0]+"."+word, "..")
				path = strings.TrimPrefix(path, ".")
				if _, twice := seen[path]; twice {
					t.Errorf("%s is classified twice", path)
				}
				seen[path] = r
			}
		}
	}
	known := config.Reference().Paths()
	for _, path := range known {
		if _, there := seen[path]; !there {
			t.Errorf("the key %s is not classified: say in rules (diff_keys.go) which changes of it widen", path)
		}
	}
	if len(seen) != len(ruleOf()) {
		t.Errorf("%d paths are written, %d are known", len(seen), len(ruleOf()))
	}
}
