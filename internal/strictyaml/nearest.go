package strictyaml

// Nearest returns the word that differs from name by at most two letters that are inserted, removed or replaced, or "".
func Nearest(name string, words []string) string {
	best, least := "", 3
	for _, w := range words {
		if d := distance(name, w); d < least && d < len(w) {
			best, least = w, d
		}
	}
	return best
}

// distance is Levenshtein's, cut short for names that are no key's.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 || len(a)-len(b) > 2 || len(b)-len(a) > 2 {
		return 3
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
