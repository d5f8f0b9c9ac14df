package console

import (
	"bytes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/jotgate/jotgate/internal/request"
)

const (
	sessionLife  = 8 * time.Hour
	mostSessions = 256       // at a time; the oldest makes room
	signInLife   = time.Hour // of a sign-in page
	idBytes      = 16
	mostCookies  = 4 // of the session's name that are tried: another port may have set some
)

// A session is that of a browser which has shown the admin token.
type session struct {
	id    [idBytes]byte
	began time.Time
}

// sessions are those of this process. A cookie is sealed with a key that the process has drawn and the admin token in
// force, and its session must be on the list: so it ends with the process, with the token, after [sessionLife], and by
// signing out.
type sessions struct {
	token func() string
	clock func() time.Time
	seal  cipher.AEAD
	mac   []byte // of forms

	mu     sync.Mutex
	live   map[[idBytes]byte]time.Time // when each began
	digest [sha256.Size]byte           // of the token that they are good for
}

func newSessions(token func() string, clock func() time.Time) *sessions {
	secrets := make([]byte, chacha20poly1305.KeySize+sha256.Size)
	rand.Read(secrets)                                                   // never fails (crypto/rand)
	seal, _ := chacha20poly1305.NewX(secrets[:chacha20poly1305.KeySize]) // the key has the size
	return &sessions{
		token: token, clock: clock, seal: seal, mac: secrets[chacha20poly1305.KeySize:],
		live: make(map[[idBytes]byte]time.Time), digest: sha256.Sum256([]byte(token())),
	}
}

// tokenChanged ends what began with another token, also if that one should come back.
func (s *sessions) tokenChanged() {
	digest := sha256.Sum256([]byte(s.token()))
	s.mu.Lock()
	defer s.mu.Unlock()
	if digest != s.digest {
		s.digest = digest
		clear(s.live)
	}
}

// begin makes a session and returns the value of its cookie.
func (s *sessions) begin() string {
	var id [idBytes]byte
	rand.Read(id[:])
	now := s.clock()
	s.tokenChanged()
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.live) >= mostSessions {
		oldest, first := id, now
		for other, began := range s.live {
			if !began.After(first) {
				oldest, first = other, began
			}
		}
		delete(s.live, oldest)
	}
	s.live[id] = now
	return s.sealed("session", append(binary.BigEndian.AppendUint64(nil, uint64(now.UnixMilli())), id[:]...))
}

func (s *sessions) end(one *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.live, one.id)
}

// of returns the session of a request; nil if it has none.
func (s *sessions) of(r *http.Request) *session {
	tried := 0
	for _, c := range r.CookiesNamed(cookieName(r)) {
		if tried++; tried > mostCookies {
			break
		}
		if one := s.open(c.Value); one != nil {
			return one
		}
	}
	return nil
}

func (s *sessions) open(value string) *session {
	plain := s.opened("session", value)
	if len(plain) != 8+idBytes {
		return nil
	}
	one := &session{began: time.UnixMilli(int64(binary.BigEndian.Uint64(plain)))}
	copy(one.id[:], plain[8:])
	if !s.alive(one) {
		return nil
	}
	return one
}

// alive reports whether a session has not ended yet.
func (s *sessions) alive(one *session) bool {
	s.tokenChanged()
	age := s.clock().Sub(one.began)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.live[one.id]; !there {
		return false
	}
	if age < -time.Minute || age >= sessionLife { // a clock that was set back does not lengthen it by much
		delete(s.live, one.id)
		return false
	}
	return s.token() != ""
}

// form returns what the forms of a session hold.
func (s *sessions) form(one *session) string {
	h := hmac.New(sha256.New, s.mac)
	h.Write(one.id[:])
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// holds reports whether a form is of a session.
func (s *sessions) holds(one *session, form string) bool {
	return subtle.ConstantTimeCompare([]byte(form), []byte(s.form(one))) == 1
}

// signInForm returns what a sign-in form holds, since there is no session yet.
func (s *sessions) signInForm() string {
	return s.sealed("sign-in", binary.BigEndian.AppendUint64(nil, uint64(s.clock().UnixMilli())))
}

// holdsSignIn reports whether a sign-in form is of this process, and not old.
func (s *sessions) holdsSignIn(form string) bool {
	plain := s.opened("sign-in", form)
	if len(plain) != 8 {
		return false
	}
	age := s.clock().Sub(time.UnixMilli(int64(binary.BigEndian.Uint64(plain))))
	return age > -time.Minute && age < signInLife
}

func (s *sessions) sealed(use string, plain []byte) string {
	nonce := make([]byte, s.seal.NonceSize(), s.seal.NonceSize()+len(plain)+s.seal.Overhead())
	rand.Read(nonce)
	return base64.RawURLEncoding.EncodeToString(s.seal.Seal(nonce, nonce, plain, s.bound(use)))
}

func (s *sessions) opened(use, text string) []byte {
	data, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(data) < s.seal.NonceSize() {
		return nil
	}
	nonce, box := data[:s.seal.NonceSize()], data[s.seal.NonceSize():]
	plain, err := s.seal.Open(nil, nonce, box, s.bound(use))
	if err != nil {
		return nil
	}
	return plain
}

// bound is what a seal holds beside its content: what it is for, and the token in force.
func (s *sessions) bound(use string) []byte {
	digest := sha256.Sum256([]byte(s.token()))
	return bytes.Join([][]byte{[]byte("jotgate console " + use), digest[:]}, []byte{0})
}

// cookieName is that of the session: on plain loopback browsers take no cookie with Secure from some hosts, or none at
// all. Anywhere else the name itself asks for Secure, and keeps other hosts and ports without TLS from setting it.
func cookieName(r *http.Request) string {
	if plainLoopback(r) {
		return request.ConsoleCookies[0]
	}
	return request.ConsoleCookies[1]
}

func plainLoopback(r *http.Request) bool {
	if r.TLS != nil {
		return false
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	a, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return strings.EqualFold(host, "localhost") || err == nil && a.Unmap().IsLoopback()
}

// setCookie gives the session to the browser; "" takes it away.
func setCookie(w http.ResponseWriter, r *http.Request, value string) {
	c := &http.Cookie{
		Name: cookieName(r), Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: !plainLoopback(r), MaxAge: int(sessionLife / time.Second),
	}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}
