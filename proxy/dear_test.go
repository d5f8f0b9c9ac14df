package proxy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jotgate/jotgate/internal/jose"
)

// While many connections show forged tokens under a P-521 key, each another one, a known good token keeps being let
// through: it waits for no check. A forged one is 401, or 503 where too many wait, and reaches no app.
func TestForgedTokensUnderADearKeyStarveNoKnownOnes(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	point, err := must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)).PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	dear := fmt.Sprintf(`{"kty":"EC","crv":"P-521","kid":"dear","alg":"ES512","x":%q,"y":%q}`,
		encode(point[1:67]), encode(point[67:]))
	ours := string(must(jose.NewKeySet(h.config.Issuer.Keys[0].Public())).JWKS())
	set, skipped, err := jose.ParseKeySet([]byte(strings.Replace(ours, `"keys":[`, `"keys":[`+dear+",", 1)))
	if err != nil || len(skipped) > 0 || set.Len() != 2 {
		t.Fatal(err, skipped)
	}
	h.keys.Store(set)
	good := h.mint()
	_, payload, _ := strings.Cut(good, ".")
	payload, _, _ = strings.Cut(payload, ".")
	head := encode([]byte(`{"alg":"ES512","typ":"at+jwt","kid":"dear"}`))
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}
	defer client.CloseIdleConnections()
	ask := func(bearer string) int {
		r, err := http.NewRequest(http.MethodGet, "http://"+h.address+"/t/acme/", nil)
		if err != nil {
			t.Error(err)
			return 0
		}
		r.Host = "app.example"
		r.Header.Set("Authorization", "Bearer "+bearer)
		a, err := client.Do(r)
		if err != nil {
			t.Error(err)
			return 0
		}
		defer a.Body.Close()
		_, _ = io.Copy(io.Discard, a.Body)
		return a.StatusCode
	}
	if status := ask(good); status != 200 {
		t.Fatal(status)
	}
	var attackers sync.WaitGroup
	var forged, checked atomic.Int64
	stop := make(chan struct{})
	for n := range 80 {
		attackers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				signature := make([]byte, 132)
				copy(signature[2:], fmt.Sprint(n, i))
				copy(signature[68:], fmt.Sprint(i, n))
				switch status := ask(head + "." + payload + "." + encode(signature)); status {
				case 401:
					checked.Add(1)
				case 503:
				default:
					t.Errorf("a forged token: %d", status)
					return
				}
				forged.Add(1)
			}
		})
	}
	for i := range 50 {
		if status := ask(good); status != 200 {
			t.Errorf("the known token, request %d: %d", i, status)
		}
	}
	close(stop)
	attackers.Wait()
	t.Logf("%d forged tokens, %d of them checked", forged.Load(), checked.Load())
	if reached := len(h.app.seen()); reached != 51 || forged.Load() == 0 {
		t.Errorf("the app saw %d requests, want 51; %d were forged", reached, forged.Load())
	}
}
