package revoke

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The table does what a map would.
func TestTheTableIsAMap(t *testing.T) {
	t.Parallel()
	type key struct{ issuer, id string }
	type value struct {
		client string
		expiry int64
	}
	rapid.Check(t, func(t *rapid.T) {
		table, model := newTokenTable(), map[key]value{}
		name := rapid.SampledFrom([]string{"", "a", "b", "ab", "long-" + fmt.Sprint(1<<40)})
		for range rapid.IntRange(0, 400).Draw(t, "steps") {
			k := key{name.Draw(t, "issuer"), fmt.Sprint(rapid.IntRange(0, 100).Draw(t, "id"), name.Draw(t, "more"))}
			switch rapid.IntRange(0, 20).Draw(t, "do") {
			case 0:
				ended := int64(rapid.IntRange(0, 10).Draw(t, "ended"))
				table = table.without(ended, func(string) {})
				for k, v := range model {
					if v.expiry <= ended {
						delete(model, k)
					}
				}
			default:
				client, expiry := name.Draw(t, "client"), int64(rapid.IntRange(0, 100).Draw(t, "expiry"))
				v, known := model[k]
				if !known {
					v.client = client
				}
				v.expiry = max(v.expiry, expiry)
				model[k] = v
				if own, added := table.put(k.issuer, k.id, client, expiry); added == known || own != v.client {
					t.Fatalf("put: %q, %v", own, added)
				}
			}
		}
		got := map[key]value{}
		for r := range table.all() {
			got[key{r.Issuer, r.Value}] = value{r.Client, r.At}
		}
		if fmt.Sprint(got) != fmt.Sprint(model) || table.len() != len(model) {
			t.Fatalf("%v, want %v", got, model)
		}
		for k, v := range model {
			if e := table.get(k.issuer, k.id); e == nil || e.expiry != v.expiry {
				t.Fatalf("%v is not found", k)
			}
			if _, other := model[key{k.issuer, k.id + "x"}]; !other && table.get(k.issuer, k.id+"x") != nil {
				t.Fatalf("%v: another is found", k)
			}
		}
	})
}

// What the quick reader takes, it reads as encoding/json does.
func FuzzParseToken(f *testing.F) {
	for _, body := range []string{
		`{"kind":"token","iss":"http://gate","value":"j","client":"web","at":1}`,
		`{"kind":"token","iss":"","value":"j","at":-5}`, `{"kind":"token","iss":"a","value":"j","at":01}`,
		`{"kind":"token","iss":"a","value":"j","at":1,"undo":true}`, `{"kind":"token","iss":"a\"","value":"j","at":1}`,
		`{"kind":"token","iss":"a","value":"j","client":"x","at":-0}`, `{"kind":"token","iss":"a","value":"j","at":}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		quick, ok := parseToken(body)
		if !ok {
			return
		}
		var slow record
		if err := json.Unmarshal(body, &slow); err != nil || slow != quick {
			t.Errorf("%q: %+v, want %+v (%v)", body, quick, slow, err)
		}
	})
}

// What a revocation takes of memory, and that reading it allocates little beside that: a million take 100 MB at most.
func TestMemoryOfRevocations(t *testing.T) { // not parallel: it measures
	file := filepath.Join(t.TempDir(), "revoked")
	const many = 100_000
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	out := bufio.NewWriter(f)
	_, _ = out.WriteString(header)
	now := time.Now()
	id := func(i int) string { return fmt.Sprintf("01a23148-f1c3-7b92-8f55-%012x", i) }
	for i := range many {
		line, err := record{
			Kind: "token", Issuer: "https://gate.example.com", Value: id(i), Client: fmt.Sprintf("client-%d", i%100),
			At: now.Add(time.Hour).UnixMilli(),
		}.line()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = out.Write(line)
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	memory := func() (live, allocated uint64) {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc, m.TotalAlloc
	}
	before, allocated := memory()
	start := time.Now()
	l, err := Open(Options{File: file, Capacity: 2 * many, Clients: 100, Clock: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	after, allocatedAfter := memory()
	t.Logf("%d MiB alive, %d MiB allocated, %v", (after-before)>>20, (allocatedAfter-allocated)>>20, took)
	if each := (after - before) / many; each > 100 {
		t.Errorf("%d bytes for each, want at most 100", each)
	}
	if each := (allocatedAfter - allocated) / many; each > 140 {
		t.Errorf("%d bytes allocated for each, want at most 140", each)
	}
	if n := l.Stats().Tokens; n != many {
		t.Errorf("%d tokens", n)
	}
	const issuer = "https://gate.example.com"
	if l.tokens.get(issuer, id(many-1)) == nil || l.tokens.get(issuer, id(many)) != nil {
		t.Error("the last one is not found, or one that was not revoked is")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
