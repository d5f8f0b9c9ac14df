package strictyaml

import "testing"

func TestDistanceCountsInsertionsRemovalsAndReplacements(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"", "ab", 2},
		{"serve", "serve", 0},
		{"srve", "serve", 1},
		{"servee", "serve", 1},
		{"sarve", "serve", 1},
		{"kitten", "sitting", 3},
		{"a", "abcd", 3}, // three letters or more make another word; how many more is not counted
		{"", "abcdef", 3},
	} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
		if got := distance(c.b, c.a); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.b, c.a, got, c.want)
		}
	}
}

func TestNearestIsAWordOfAtMostTwoTypingErrors(t *testing.T) {
	t.Parallel()
	words := []string{"check", "hash", "init", "mint"}
	for name, want := range map[string]string{
		"chekc": "check", "has": "hash", "mnt": "mint", "int": "init", "explode": "", "": "", "xy": "",
	} {
		if got := Nearest(name, words); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", name, got, want)
		}
	}
}
