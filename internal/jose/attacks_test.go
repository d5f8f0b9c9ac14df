package jose_test

import (
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/token"
)

// attack is a bearer and the reason for which it must be refused.
type attack struct {
	name   string
	bearer string
	want   refusal.Reason
}

func refuse(t *testing.T, v *jose.Verifier, attacks []attack) {
	t.Helper()
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			x, err := v.Verify(a.bearer, epoch, nil)
			if err == nil {
				t.Fatalf("accepted: %+v", x)
			}
			if have := refusal.Of(err); have != a.want {
				t.Errorf("have %v, want %s", err, a.want)
			}
			if x != nil {
				t.Errorf("a refusal came with claims: %+v", x)
			}
			if parts := strings.Split(a.bearer, "."); len(parts) > 2 && len(parts[2]) > 20 &&
				strings.Contains(err.Error(), parts[2]) {
				t.Errorf("the refusal shows the credential: %v", err)
			}
		})
	}
}

// with changes one claim of the good ones, or removes it if value is "".
func with(claim, value string) string {
	var m map[string]json.RawMessage
	if err := json.Unmarshal([]byte(goodClaims), &m); err != nil {
		panic(err)
	}
	if m[claim] = json.RawMessage(value); value == "" {
		delete(m, claim)
	}
	return string(must(json.Marshal(m)))
}

func TestTheGoodTokenIsAccepted(t *testing.T) {
	t.Parallel()
	key := keyFor(t, "ES256")
	issuer := ours(key)
	v := newVerifier(t, issuer)
	want := &jose.Verified{Issuer: issuer, KeyID: "kid-ES256", Claims: token.Claims{
		Issuer: ourIssuer, Subject: "user-7", Audience: []string{"https://gate.example.com/api"}, ClientID: "shop",
		ID:       "0190",
		IssuedAt: 1_700_000_000_000, NotBefore: 1_700_000_000_000, Expiry: 1_700_003_600_000, Grantor: "shop",
		Permissions: token.Permissions{
			{Tenant: "acme", AllowedActions: []string{"READ_TENANT", "MANAGE_TICKETS"}},
			{Tenant: "*", AllowedActions: []string{}},
		},
	}}
	for _, typ := range []string{"at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+jwt"} {
		have, err := v.Verify(key.forge(key.header(typ), goodClaims), epoch, nil)
		if err != nil {
			t.Fatalf("typ %s: %v", typ, err)
		}
		if have.Issuer != issuer {
			t.Errorf("typ %s: another issuer's value", typ)
		}
		if have.Keys != issuer.Keys() {
			t.Errorf("typ %s: another key set", typ)
		}
		if diff := cmp.Diff(want, have, cmpopts.IgnoreFields(jose.Verified{}, "Issuer", "Keys")); diff != "" {
			t.Errorf("typ %s: (-want +have)\n%s", typ, diff)
		}
	}
	header := `{"kid":"kid-ES256","unknown":{"deep":[1,null]},"typ":"at+jwt","alg":"ES256"}`
	if _, err := v.Verify(key.forge(header, goodClaims), epoch, nil); err != nil {
		t.Errorf("an unknown header member must be ignored: %v", err)
	}
}

func TestAlgorithmAndKeyConfusion(t *testing.T) {
	t.Parallel()
	key, stranger := keyFor(t, "ES256"), keyFor(t, "EdDSA")
	rs := keyFor(t, "RS256")
	v := newVerifier(t, ours(key, rs), &jose.Issuer{URL: foreignIssuer, Keys: holding(setOf(stranger))})
	head := func(alg, kid string) string { return fmt.Sprintf(`{"alg":%q,"typ":"at+jwt","kid":%q}`, alg, kid) }
	der := must(x509.MarshalPKIXPublicKey(rs.verifying()))
	hmacWith := func(secret []byte, kid string) string {
		return (&testKey{alg: "HS256", private: secret}).forge(head("HS256", kid), goodClaims)
	}
	unsigned := func(alg string) string { return b64(head(alg, "kid-ES256")) + "." + b64(goodClaims) }
	rsAsPS := &testKey{alg: "PS256", private: rsaKey()}
	ec384 := keyFor(t, "ES384")
	refuse(t, v, []attack{
		{"alg none without signature", unsigned("none") + ".", refusal.TokenMalformed},
		{"alg none with a signature", unsigned("none") + ".AAAA", refusal.TokenAlgorithmRefused},
		{"alg None", unsigned("None") + ".AAAA", refusal.TokenAlgorithmRefused},
		{"alg NONE", unsigned("NONE") + ".AAAA", refusal.TokenAlgorithmRefused},
		{"alg nOnE", unsigned("nOnE") + ".AAAA", refusal.TokenAlgorithmRefused},
		{"alg in small letters", key.forge(head("es256", "kid-ES256"), goodClaims), refusal.TokenAlgorithmRefused},
		{"no alg", key.forge(`{"typ":"at+jwt","kid":"kid-ES256"}`, goodClaims), refusal.TokenAlgorithmRefused},
		{"alg is empty", key.forge(head("", "kid-ES256"), goodClaims), refusal.TokenAlgorithmRefused},
		{"alg is null", key.forge(`{"alg":null,"typ":"at+jwt","kid":"kid-ES256"}`, goodClaims), refusal.TokenMalformed},
		{"HMAC with the public key's DER", hmacWith(der, "kid-RS256"), refusal.TokenAlgorithmRefused},
		{"HMAC with the public key's PEM", hmacWith(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}),
			"kid-RS256"), refusal.TokenAlgorithmRefused},
		{"HMAC with the JWKS", hmacWith(setOf(rs).JWKS(), "kid-RS256"), refusal.TokenAlgorithmRefused},
		{"HMAC with an empty secret", hmacWith(nil, "kid-ES256"), refusal.TokenAlgorithmRefused},
		{"PS256 with a key of RS256", rsAsPS.forge(head("PS256", "kid-RS256"), goodClaims), refusal.TokenAlgorithmRefused},
		{"PS256 that says RS256", rsAsPS.forge(head("RS256", "kid-RS256"), goodClaims), refusal.TokenSignatureInvalid},
		{"ES384 for ES256", ec384.forge(head("ES384", "kid-ES256"), goodClaims), refusal.TokenAlgorithmRefused},
		{"unknown kid", key.forge(head("ES256", "other"), goodClaims), refusal.TokenKeyUnknown},
		{"no kid", key.forge(`{"alg":"ES256","typ":"at+jwt"}`, goodClaims), refusal.TokenKeyUnknown},
		{"kid is empty", key.forge(head("ES256", ""), goodClaims), refusal.TokenHeaderRefused},
		{"kid like a path", key.forge(head("ES256", "../../../dev/null"), goodClaims), refusal.TokenKeyUnknown},
		{"kid like SQL", key.forge(head("ES256", "x' UNION SELECT 'y"), goodClaims), refusal.TokenKeyUnknown},
		{"kid of 257 bytes", key.forge(head("ES256", strings.Repeat("k", 257)), goodClaims), refusal.TokenHeaderRefused},
		{"kid of 64 KiB", key.forge(head("ES256", strings.Repeat("k", 64<<10)), goodClaims), refusal.TokenTooLarge},
		{"kid is a number", key.forge(`{"alg":"ES256","typ":"at+jwt","kid":1}`, goodClaims), refusal.TokenMalformed},
		{"the kid of another issuer's key", stranger.token(goodClaims), refusal.TokenKeyUnknown},
		{
			"another issuer's key under our kid", stranger.forge(head("ES256", "kid-ES256"), goodClaims),
			refusal.TokenSignatureInvalid,
		},
		{"our key under another issuer's name", key.token(with("iss", `"`+foreignIssuer+`"`)), refusal.TokenKeyUnknown},
		{
			"a stranger's key of the same type", fixedEC("ES256", elliptic.P256(), 9).token(goodClaims),
			refusal.TokenSignatureInvalid,
		},
	})
}

func TestHeadersThatBringKeysOrChangeTheMeaning(t *testing.T) {
	t.Parallel()
	key := keyFor(t, "ES256")
	v := newVerifier(t, ours(key))
	var attacks []attack
	for member, value := range map[string]string{
		"jwk": `{"kty":"EC"}`, "jku": `"http://127.0.0.1:1/jwks"`, "x5u": `"http://127.0.0.1:1/cert"`, "x5c": `["MII"]`,
		"crit": `["b64"]`, "b64": `false`, "zip": `"DEF"`, "enc": `"A256GCM"`,
		"cty": `"JWT"`, "epk": `{}`, "p2c": `100000000`,
	} {
		header := fmt.Sprintf(`{"alg":"ES256","typ":"at+jwt","kid":"kid-ES256",%q:%s}`, member, value)
		attacks = append(attacks, attack{member, key.forge(header, goodClaims), refusal.TokenHeaderRefused})
	}
	attacks = append(attacks,
		attack{"crit with b64 false", key.forge(`{"alg":"ES256","typ":"at+jwt","kid":"kid-ES256","b64":false,"crit":["b64"]}`,
			goodClaims), refusal.TokenHeaderRefused},
		attack{
			"an escaped jku", key.forge(`{"alg":"ES256","typ":"at+jwt","kid":"kid-ES256","jk\u0075":"x"}`, goodClaims),
			refusal.TokenHeaderRefused,
		},
		attack{
			"alg twice", key.forge(`{"alg":"none","alg":"ES256","typ":"at+jwt","kid":"kid-ES256"}`, goodClaims),
			refusal.TokenMalformed,
		},
		attack{"kid twice, once escaped", key.forge(`{"alg":"ES256","typ":"at+jwt","kid":"kid-ES256","\u006bid":"kid-ES256"}`,
			goodClaims), refusal.TokenMalformed},
		attack{"header is an array", key.forge(`["ES256"]`, goodClaims), refusal.TokenMalformed},
		attack{"header has data after it", key.forge(key.header("at+jwt")+"{}", goodClaims), refusal.TokenMalformed},
		attack{"header is not UTF-8", key.forge("{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"kid-ES256\",\"x\":\"\xff\"}",
			goodClaims), refusal.TokenMalformed},
	)
	refuse(t, v, attacks)
	thumbprint := key.forge(`{"alg":"ES256","typ":"at+jwt","kid":"kid-ES256","x5t":"AAAA","x5t#S256":"AAAA"}`, goodClaims)
	if _, err := v.Verify(thumbprint, epoch, nil); err != nil {
		t.Errorf("a thumbprint, which brings no key: %v", err)
	}
}

func TestOtherSpellingsOfAToken(t *testing.T) {
	t.Parallel()
	key := keyFor(t, "ES256")
	v := newVerifier(t, ours(key))
	good := key.token(goodClaims)
	parts := strings.Split(good, ".")
	h, p, s := parts[0], parts[1], parts[2]
	raw := string(must(base64.RawURLEncoding.DecodeString(s)))
	inner := func(format string) string { return fmt.Sprintf(format, p, h, s) }
	refuse(t, v, []attack{
		{"empty", "", refusal.TokenMalformed},
		{"one segment", h, refusal.TokenMalformed},
		{"two segments", h + "." + p, refusal.TokenMalformed},
		{"four segments", good + ".", refusal.TokenMalformed},
		{"JWE, five segments", h + "." + p + "." + s + ".AAAA.AAAA", refusal.TokenMalformed},
		{"no header", "." + p + "." + s, refusal.TokenMalformed},
		{"no payload", h + ".." + s, refusal.TokenMalformed},
		{"no signature", h + "." + p + ".", refusal.TokenMalformed},
		{"padding", good + "==", refusal.TokenMalformed},
		{"padding of the payload", h + "." + p + "=." + s, refusal.TokenMalformed},
		{"standard alphabet", h + "." + p + "." + strings.Repeat("+/", 42) + "+A", refusal.TokenMalformed},
		{"newline at the end", good + "\n", refusal.TokenMalformed},
		{"newline inside", h + "." + p[:4] + "\r\n" + p[4:] + "." + s, refusal.TokenMalformed},
		{"newline in the header", h[:4] + "\n" + h[4:] + "." + p + "." + s, refusal.TokenMalformed},
		{"space at the start", " " + good, refusal.TokenMalformed},
		{"NUL at the end", good + "\x00", refusal.TokenMalformed},
		{"an unused bit set", good[:len(good)-1] + nextSpelling(good[len(good)-1]), refusal.TokenMalformed},
		{"a byte more in the signature", h + "." + p + "." + b64(raw+"\x00"), refusal.TokenSignatureInvalid},
		{"a zero byte before s", h + "." + p + "." + b64(raw[:32]+"\x00"+raw[32:]), refusal.TokenSignatureInvalid},
		{"no kid, though we have one key", key.forge(`{"alg":"ES256","typ":"at+jwt"}`, goodClaims), refusal.TokenKeyUnknown},
		{"a signature in DER", h + "." + p + "." + b64("\x30\x06\x02\x01\x01\x02\x01\x01"), refusal.TokenSignatureInvalid},
		{"r and s zero", h + "." + p + "." + b64(strings.Repeat("\x00", 64)), refusal.TokenSignatureInvalid},
		{"r and s all ones", h + "." + p + "." + b64(strings.Repeat("\xff", 64)), refusal.TokenSignatureInvalid},
		{"1 MB of dots", strings.Repeat(".", 1<<20), refusal.TokenTooLarge},
		{"8 KiB of dots", strings.Repeat(".", 8<<10), refusal.TokenMalformed},
		{"one byte over the limit", strings.Repeat("a", 8<<10+1), refusal.TokenTooLarge},
		{"flattened JSON", inner(`{"payload":%q,"protected":%q,"signature":%q}`), refusal.TokenMalformed},
		{"general JSON", inner(`{"payload":%q,"signatures":[{"protected":%q,"signature":%q}]}`), refusal.TokenMalformed},
		{
			"flattened JSON with dots outside", inner(`{"payload":%q,"protected":%q,"signature":%q,"x":"a.b.c"}`),
			refusal.TokenMalformed,
		},
		{
			"nested JWS", key.forge(`{"alg":"ES256","typ":"at+jwt","kid":"kid-ES256","cty":"JWT"}`, good),
			refusal.TokenMalformed,
		},
		{"nested JWS without cty", key.token(good), refusal.TokenMalformed},
		{"a code as bearer", strings.Repeat("Ab0-_", 25) + "Abc", refusal.TokenMalformed},
	})
}

// nextSpelling is another last character that decodes to the same bytes where unused bits are ignored. A signature of
// 64 bytes leaves four bits unused.
func nextSpelling(last byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(alphabet[strings.IndexByte(alphabet, last)|1])
}

func TestClaimsOfTheWrongShape(t *testing.T) {
	t.Parallel()
	key := keyFor(t, "ES256")
	v := newVerifier(t, ours(key))
	malformed, claims := refusal.TokenMalformed, refusal.TokenClaimsMalformed
	var attacks []attack
	for _, c := range []struct {
		name, payload string
		want          refusal.Reason
	}{
		{"no object", `[]`, claims},
		{"null", `null`, claims},
		{"text", `hello`, malformed},
		{"empty object", `{}`, claims},
		{"data after it", goodClaims + "x", malformed},
		{"exp twice", strings.Replace(goodClaims, `"exp"`, `"exp":9999999999,"exp"`, 1), malformed},
		{"exp twice, once escaped", strings.Replace(goodClaims, `"exp"`, `"\u0065xp":9999999999,"exp"`, 1), malformed},
		{"tenantPermissions twice", strings.Replace(goodClaims, `"jti"`, `"tenantPermissions":[],"jti"`, 1), malformed},
		{"tenant twice", with("tenantPermissions", `[{"tenant":"a","tenant":"b","allowedActions":[]}]`), malformed},
		{"duplicate deep in an unknown claim", with("x", `{"a":[{"b":1,"b":2}]}`), malformed},
		{"nested deeper than 32", with("x", strings.Repeat("[", 40)+strings.Repeat("]", 40)), malformed},
		{"not UTF-8", strings.Replace(goodClaims, "user-7", "user-\xc3", 1), malformed},
		{"lone surrogate", strings.Replace(goodClaims, "user-7", `user-\ud800`, 1), malformed},
		{"no iss", with("iss", ""), claims},
		{"iss a number", with("iss", "1"), claims},
		{"iss a list", with("iss", `["`+ourIssuer+`"]`), claims},
		{"iss another", with("iss", `"https://evil.example.com"`), refusal.TokenIssuerUnknown},
		{"iss with a slash more", with("iss", `"`+ourIssuer+`/"`), refusal.TokenIssuerUnknown},
		{"iss in capitals", with("iss", `"HTTPS://gate.example.com"`), refusal.TokenIssuerUnknown},
		{"no sub", with("sub", ""), claims},
		{"empty sub", with("sub", `""`), claims},
		{"sub null", with("sub", `null`), claims},
		{"sub a number", with("sub", `7`), claims},
		{"no aud", with("aud", ""), claims},
		{"aud null", with("aud", `null`), claims},
		{"aud empty", with("aud", `""`), claims},
		{"aud an empty list", with("aud", `[]`), claims},
		{"aud a list with a number", with("aud", `["a",1]`), claims},
		{"aud an object", with("aud", `{"a":1}`), claims},
		{"no client_id", with("client_id", ""), claims},
		{"no jti", with("jti", ""), claims},
		{"jti a number", with("jti", "1"), claims},
		{"no iat", with("iat", ""), claims},
		{"iat zero", with("iat", "0"), claims},
		{"iat a string", with("iat", `"1700000000"`), claims},
		{"iat negative", with("iat", `-1`), claims},
		{"no exp", with("exp", ""), claims},
		{"exp null", with("exp", "null"), claims},
		{"exp a string", with("exp", `"1700003600"`), claims},
		{"exp a date", with("exp", `"2030-01-01T00:00:00Z"`), claims},
		{"exp 1e300", with("exp", "1e300"), claims},
		{"exp 1e999", with("exp", "1e999"), claims},
		{"exp 9e18", with("exp", "9e18"), claims},
		{"exp of 19 digits", with("exp", "9000000000000000000"), claims},
		{"exp of 30 digits", with("exp", strings.Repeat("9", 30)), claims},
		{"exp 0", with("exp", "0"), claims},
		{"exp -1", with("exp", "-1"), claims},
		{"exp -0.5", with("exp", "-0.5"), claims},
		{"exp too small", with("exp", "1e-9"), claims},
		{"exp true", with("exp", "true"), claims},
		{"exp NaN", strings.Replace(goodClaims, "1700003600", "NaN", 1), malformed},
		{"exp after the year 9999", with("exp", "253402300800"), claims},
		{"nbf a string", with("nbf", `"0"`), claims},
		{"nbf 1e300", with("nbf", `1e300`), claims},
		{"scope a list", with("scope", `["issue_codes"]`), claims},
		{"scope with two spaces", with("scope", `"a  b"`), claims},
		{"scope with a tab", with("scope", `"a\tb"`), claims},
		{"master a string", with("master", `"true"`), claims},
		{"master a number", with("master", `1`), claims},
		{"expiresOn a string", with("expiresOn", `"1"`), claims},
		{"expiresOn with a fraction", with("expiresOn", `1.5`), claims},
		{"expiresOn zero", with("expiresOn", `0`), claims},
		{"application a list", with("application", `[]`), claims},
		{"grantor null", with("grantor", `null`), claims},
		{"tenantPermissions null", with("tenantPermissions", `null`), claims},
		{"tenantPermissions an object", with("tenantPermissions", `{}`), claims},
		{"tenantPermissions of strings", with("tenantPermissions", `["acme"]`), claims},
		{"an entry without tenant", with("tenantPermissions", `[{"allowedActions":["*"]}]`), claims},
		{"an entry with an empty tenant", with("tenantPermissions", `[{"tenant":"","allowedActions":["*"]}]`), claims},
		{"an entry without actions", with("tenantPermissions", `[{"tenant":"acme"}]`), claims},
		{"actions null", with("tenantPermissions", `[{"tenant":"acme","allowedActions":null}]`), claims},
		{"actions a string", with("tenantPermissions", `[{"tenant":"acme","allowedActions":"*"}]`), claims},
		{"an empty action", with("tenantPermissions", `[{"tenant":"acme","allowedActions":[""]}]`), claims},
		{
			"an entry with another member", with("tenantPermissions", `[{"tenant":"acme","allowedActions":[],"deny":true}]`),
			claims,
		},
		{"an entry in other capitals", with("tenantPermissions", `[{"Tenant":"acme","allowedActions":[]}]`), claims},
	} {
		attacks = append(attacks, attack{c.name, key.token(c.payload), c.want})
	}
	refuse(t, v, attacks)
}

func TestTimes(t *testing.T) {
	t.Parallel()
	key := keyFor(t, "ES256")
	v := newVerifier(t, ours(key))
	at := func(iat, nbf, exp string) string {
		return key.token(fmt.Sprintf(`{"iss":%q,"sub":"s","aud":"a","client_id":"c","jti":"j","iat":%s,"nbf":%s,"exp":%s}`,
			ourIssuer, iat, nbf, exp))
	}
	for _, c := range []struct {
		name, iat, nbf, exp string
		want                refusal.Reason
	}{
		{"good", "1700000000", "1700000000", "1700000001", ""},
		{"exp is now", "1699999000", "0", "1700000000", refusal.TokenExpired},
		{"exp was a millisecond ago", "1699999000", "0", "1699999999.999", refusal.TokenExpired},
		{"exp in a millisecond", "1699999000", "0", "1700000000.001", ""},
		{"exp in less than a millisecond", "1699999000", "0", "1700000000.0009", refusal.TokenExpired},
		{"leeway is not for exp", "1699999000", "0", "1699999998", refusal.TokenExpired},
		{"exp with an exponent", "1.7E9", "1.7e+9", "1.7000036E9", ""},
		{"nbf at the leeway", "1700000000", "1700000005", "1700003600", ""},
		{"nbf over the leeway", "1700000000", "1700000005.001", "1700003600", refusal.TokenNotYetValid},
		{"iat at the leeway", "1700000005", "0", "1700003600", ""},
		{"iat over the leeway", "1700000005.001", "0", "1700003600", refusal.TokenNotYetValid},
		{"lifetime at the limit", "1700000000", "0", "1700086400", ""},
		{"lifetime over the limit", "1700000000", "0", "1700086400.001", refusal.TokenLifetimeTooLong},
		{"old iat, long life", "1600000000", "0", "1700000100", refusal.TokenLifetimeTooLong},
		{"the last second of 9999", "1700000000", "0", "253402300799", refusal.TokenLifetimeTooLong},
		{"exp before iat", "1700000004", "0", "1700000002", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			x, err := v.Verify(at(c.iat, c.nbf, c.exp), epoch, nil)
			if have := refusal.Of(err); have != c.want {
				t.Fatalf("have %v, want %q", err, c.want)
			}
			if err == nil {
				if have := refusal.Of(v.CheckTimes(x, time.UnixMilli(x.Claims.Expiry))); have != refusal.TokenExpired {
					t.Errorf("once expired: %q", have)
				}
			}
		})
	}
}

// TestUntimedForgivesTimesAlone: an expired token is read, an unsigned one is not.
func TestUntimedForgivesTimesAlone(t *testing.T) {
	t.Parallel()
	key := keyFor(t, "ES256")
	v := newVerifier(t, ours(key))
	expired := key.token(with("exp", "1"))
	x, err := v.VerifyUntimed(expired, nil)
	if err != nil || x.Claims.Expiry != 1000 {
		t.Fatalf("%v, %+v", err, x)
	}
	if have := refusal.Of(v.CheckTimes(x, epoch)); have != refusal.TokenExpired {
		t.Errorf("CheckTimes: %q", have)
	}
	forged := expired[:len(expired)-86] + strings.Repeat("A", 86)
	if x, err := v.VerifyUntimed(forged, nil); x != nil || refusal.Of(err) != refusal.TokenSignatureInvalid {
		t.Errorf("forged: %v, %+v", err, x)
	}
}

func TestTypes(t *testing.T) {
	t.Parallel()
	key, stranger := keyFor(t, "ES256"), keyFor(t, "EdDSA")
	v := newVerifier(t, ours(key), &jose.Issuer{
		URL: foreignIssuer, Types: []string{"application/JWT"},
		Keys: holding(setOf(stranger)),
	})
	foreign := with("iss", `"`+foreignIssuer+`"`)
	idToken := strings.Replace(foreign, `"iat"`, `"nonce":"n","at_hash":"h","iat"`, 1)
	refuse(t, v, []attack{
		{"an id_token's typ", key.forge(key.header("JWT"), goodClaims), refusal.TokenTypeRefused},
		{"no typ", key.forge(`{"alg":"ES256","kid":"kid-ES256"}`, goodClaims), refusal.TokenTypeRefused},
		{"typ null", key.forge(`{"alg":"ES256","kid":"kid-ES256","typ":null}`, goodClaims), refusal.TokenMalformed},
		{"another kind of ours", key.forge(key.header("assertion+jwt"), goodClaims), refusal.TokenTypeRefused},
		{"dpop+jwt", key.forge(key.header("dpop+jwt"), goodClaims), refusal.TokenTypeRefused},
		{"logout+jwt", key.forge(key.header("logout+jwt"), goodClaims), refusal.TokenTypeRefused},
		{"application twice", key.forge(key.header("application/application/at+jwt"), goodClaims), refusal.TokenTypeRefused},
		{"the type of another issuer", stranger.token(foreign), refusal.TokenTypeRefused},
		{"an id_token where JWT is taken", stranger.forge(stranger.header("JWT"), idToken), refusal.TokenTypeRefused},
		{"an id_token with c_hash", stranger.forge(stranger.header("JWT"),
			strings.Replace(foreign, `"iat"`, `"c_hash":"h","iat"`, 1)), refusal.TokenTypeRefused},
	})
	if _, err := v.Verify(stranger.forge(stranger.header("JWT"), foreign), epoch, nil); err != nil {
		t.Errorf("an access token of typ JWT: %v", err)
	}
}

func TestTheSignatureIsJudgedLast(t *testing.T) {
	t.Parallel()
	key := keyFor(t, "ES256")
	v := newVerifier(t, ours(key))
	bad := key.token(goodClaims)
	bad = bad[:len(bad)-86] + strings.Repeat("A", 86)
	wrongAudience := refusal.Because(refusal.TokenAudienceMismatch, "not ours")
	for _, c := range []struct {
		name   string
		before error
		want   error
	}{
		{"the caller refuses first", wrongAudience, wrongAudience},
		{
			"the caller lets it through", nil,
			refusal.Because(refusal.TokenSignatureInvalid, `key "kid-ES256" did not sign this`),
		},
	} {
		asked := 0
		x, err := v.Verify(bad, epoch, func(x *jose.Verified) error {
			if asked++; x.Claims.Subject != "user-7" || x.KeyID != "kid-ES256" {
				t.Errorf("%s: asked about %+v", c.name, x)
			}
			return c.before
		})
		if x != nil || err == nil || err.Error() != c.want.Error() || asked != 1 {
			t.Errorf("%s: have %v (asked %d times), want %v", c.name, err, asked, c.want)
		}
	}
	if _, err := v.Verify(key.token(with("exp", "1")), epoch,
		func(*jose.Verified) error { return errors.New("asked too early") }); refusal.Of(err) != refusal.TokenExpired {
		t.Errorf("an expired token: %v", err)
	}
}

func TestKeysThatAreGone(t *testing.T) {
	t.Parallel()
	key, next := keyFor(t, "ES256"), keyFor(t, "ES384")
	set := setOf(key, next)
	issuer := ours()
	issuer.Keys = func() *jose.KeySet { return set }
	v := newVerifier(t, issuer)
	bearer := key.token(goodClaims)
	for _, step := range []struct {
		name string
		set  *jose.KeySet
		want refusal.Reason
	}{
		{"there", setOf(key, next), ""},
		{"removed", setOf(next), refusal.TokenKeyUnknown},
		{"no keys at hand", nil, refusal.IssuerUnavailable},
		{"back", setOf(key), ""},
	} {
		set = step.set
		if _, err := v.Verify(bearer, epoch, nil); refusal.Of(err) != step.want {
			t.Errorf("%s: have %v, want %q", step.name, err, step.want)
		}
	}
}

func TestIdentitiesThatCannotBecomeHeaders(t *testing.T) {
	t.Parallel()
	key := keyFor(t, "ES256")
	v := newVerifier(t, ours(key))
	for _, claim := range []string{"sub", "client_id", "jti", "grantor", "application"} {
		for _, c := range []struct {
			name, value string
			want        refusal.Reason
		}{
			{"CR", `"a\rb"`, refusal.TokenIdentityRefused},
			{"LF", `"a\nX-Admin: 1"`, refusal.TokenIdentityRefused},
			{"NUL", `"a\u0000"`, refusal.TokenIdentityRefused},
			{"tab", `"\t"`, refusal.TokenIdentityRefused},
			{"DEL", `"a\u007f"`, refusal.TokenIdentityRefused},
			{"non-ASCII", `"Zoë"`, ""},
			{"C1", `"a\u0085b"`, refusal.TokenIdentityRefused},
			{"plain", `"a b"`, ""},
		} {
			x, err := v.Verify(key.token(with(claim, c.value)), epoch, nil)
			if err != nil {
				t.Errorf("%s with %s: %v", claim, c.name, err)
				continue
			}
			if have := refusal.Of(jose.CheckIdentity(&x.Claims)); have != c.want {
				t.Errorf("%s with %s: have %q, want %q", claim, c.name, have, c.want)
			}
		}
	}
	for _, entry := range []token.TenantPermission{{Tenant: "a\n"}, {Tenant: "a", AllowedActions: []string{"x", "y\r"}}} {
		if err := jose.CheckIdentity(&token.Claims{Permissions: token.Permissions{entry}}); refusal.Of(
			err) != refusal.TokenIdentityRefused {
			t.Errorf("%+v: %v", entry, err)
		}
	}
}

// TestVerificationsAllocateLittle gates what a token costs that is in no cache, in allocations and in bytes.
func TestVerificationsAllocateLittle(t *testing.T) {
	for _, c := range []struct {
		alg    string
		allocs uint64
		bytes  uint64
	}{
		{"ES256", 33, 3 << 10}, {"RS256", 16, 3 << 10}, {"HS256", 13, 2 << 10}, {"EdDSA", 12, 2 << 10},
	} {
		key := keyFor(t, c.alg)
		v, compact := newVerifier(t, ours(key)), key.token(goodClaims)
		verify := func(times uint64) {
			for range times {
				if _, err := v.Verify(compact, epoch, nil); err != nil {
					t.Fatalf("%s: %v", c.alg, err)
				}
			}
		}
		const times = 200
		verify(times) // the key is prepared behind that
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		verify(times)
		runtime.ReadMemStats(&after)
		allocs, bytes := (after.Mallocs-before.Mallocs)/times, (after.TotalAlloc-before.TotalAlloc)/times
		if (allocs > c.allocs || bytes > c.bytes) && !raceEnabled { // under it, pools forget
			t.Errorf("%s: %d allocations of %d bytes, %d of %d are allowed", c.alg, allocs, bytes, c.allocs, c.bytes)
		}
		t.Logf("%s: %d allocations of %d bytes", c.alg, allocs, bytes)
	}
}

func TestRefusalsAllocateLittle(t *testing.T) {
	key := keyFor(t, "ES256")
	v := newVerifier(t, ours(key))
	huge, err := jose.NewVerifier(jose.Options{Issuers: []*jose.Issuer{ours(key)}, MaxBytes: 2 << 20})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		v      *jose.Verifier
		bearer string
		most   uint64
	}{
		{"1 MB of dots over the limit", v, strings.Repeat(".", 1<<20), 1 << 10},
		{"1 MB of dots under the limit", huge, strings.Repeat(".", 1<<20), 1 << 10},
		{"1 MB of letters", huge, strings.Repeat("a", 1<<20), 1 << 10},
		{"unknown kid", v, key.forge(`{"alg":"ES256","typ":"at+jwt","kid":"x"}`, goodClaims), 8 << 10},
	} {
		const times = 50
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range times {
			if _, err := c.v.Verify(c.bearer, epoch, nil); err == nil {
				t.Fatalf("%s: accepted", c.name)
			}
		}
		runtime.ReadMemStats(&after)
		if have := (after.TotalAlloc - before.TotalAlloc) / times; have > c.most {
			t.Errorf("%s: %d bytes allocated, the limit is %d", c.name, have, c.most)
		}
	}
}
