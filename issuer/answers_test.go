package issuer

import (
	"bytes"
	"encoding/json"
	"testing"

	"pgregory.net/rapid"

	"github.com/jotgate/jotgate/internal/token"
)

// TestAnswersAreWrittenAsByTheLibrary compares what is written without reflection with encoding/json's reading of the
// types.
func TestAnswersAreWrittenAsByTheLibrary(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String()
		created := &accessToken{
			Application: text.Draw(t, "application"), Master: rapid.Bool().Draw(t, "master"), Permissions: token.Permissions{},
			ExpiresOn: rapid.Int64().Draw(t, "expiresOn"), ID: text.Draw(t, "id"),
		}
		for range rapid.IntRange(0, 3).Draw(t, "permissions") {
			created.Permissions = append(created.Permissions, token.TenantPermission{
				Tenant: text.Draw(t, "tenant"), AllowedActions: rapid.SliceOf(text).Draw(t, "actions"),
			})
		}
		sameJSON(t, created, created.appendJSON(nil))
		redeemed := tokenAnswer{text.Draw(t, "token"), text.Draw(t, "type"), rapid.Int64().Draw(t, "seconds")}
		sameJSON(t, redeemed, redeemed.appendJSON(nil))
	})
}

func sameJSON(t *rapid.T, value any, ours []byte) {
	t.Helper()
	library, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	var have, want any
	if err := json.Unmarshal(ours, &have); err != nil {
		t.Fatalf("%v in %s", err, ours)
	}
	if err := json.Unmarshal(library, &want); err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(have)
	b, _ := json.Marshal(want)
	if !bytes.Equal(a, b) {
		t.Fatalf("have %s\nwant %s", ours, library)
	}
}
