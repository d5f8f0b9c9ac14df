package refusal

import (
	"maps"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The troubleshooting page has every reason once, with its status, and says what to do.
func TestTroubleshootingHasEveryReason(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\| ([0-9]{3}) \\| ([^|]{10,}) \\| ([^|]{10,}) \\|$")
	told := map[Reason]int{}
	for _, m := range row.FindAllStringSubmatch(string(page), -1) {
		reason := Reason(m[1])
		if _, twice := told[reason]; twice {
			t.Errorf("%s is there twice", reason)
		}
		told[reason], err = strconv.Atoi(m[2])
		if err != nil {
			t.Errorf("%s: %v", reason, err)
		}
	}
	want := maps.Clone(statuses)
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("docs/troubleshooting.md (-refusal.All +page):\n%s", diff)
	}
}

// Every reason has an example, once.
func TestTroubleshootingHasAnExampleOfEveryReason(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	_, examples, found := strings.Cut(string(page), "\n## An example of each\n")
	if !found {
		t.Fatal("there are no examples")
	}
	shown := map[Reason]int{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\| (?:[^|]|\\\\\\|){10,} \\|$").FindAllStringSubmatch(
		examples, -1) {
		shown[Reason(m[1])]++
	}
	for _, reason := range All() {
		if shown[reason] != 1 {
			t.Errorf("%s has %d examples, want 1", reason, shown[reason])
		}
		delete(shown, reason)
	}
	for reason := range shown {
		t.Errorf("%s is no reason", reason)
	}
}
