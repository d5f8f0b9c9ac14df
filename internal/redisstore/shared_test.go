package redisstore_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/redisstore"
	"github.com/jotgate/jotgate/internal/redistest"
	"github.com/jotgate/jotgate/internal/refusal"
	"github.com/jotgate/jotgate/internal/replay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func settings(address string) *config.Redis {
	return &config.Redis{
		Network: "tcp", Address: address, Pool: 8, DialTimeout: 10 * time.Second, Timeout: 10 * time.Second,
		Prefix: "jotgate", Skew: 5 * time.Second,
	}
}

func open(t *testing.T, c *config.Redis) *redisstore.Store {
	t.Helper()
	store, err := redisstore.Open(t.Context(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// redeem uses a code that was sealed now; n tells it from others.
func redeem(g *replay.Redis, n byte) error {
	return g.Consume(context.Background(), replay.Use{
		Client: "a", Nonce: [24]byte{n}, Expiry: time.Now().Add(time.Minute).UnixMilli(), Epoch: g.Epoch(),
	})
}

func guard(store *redisstore.Store) *replay.Redis { return replay.NewRedis(store, []string{"a"}) }

// A client that goes away during a store call leaves the store to the others.
func TestWhoAskedWentAway(t *testing.T) {
	t.Parallel()
	store := open(t, settings(redistest.Start(t).Addr()))
	gone, leave := context.WithCancel(t.Context())
	leave()
	if state := store.Look(gone); state.Err == nil {
		t.Error("who has gone away was answered")
	}
	if state := store.State(); state.Err != nil {
		t.Errorf("everybody else hears %v", state.Err)
	}
}

// What cannot hold the guarantee is refused at start, with what to do.
func TestStoreThatIsNotFit(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t)
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"evicts": {
			[]string{"--maxmemory-policy", "allkeys-lru"},
			"redis: the server's maxmemory-policy is allkeys-lru, so it may forget which codes were used: " +
				"set it to noeviction (CONFIG SET maxmemory-policy noeviction, and in its redis.conf)",
		},
		"evicts what ends": {
			[]string{"--maxmemory-policy", "volatile-ttl"},
			"redis: the server's maxmemory-policy is volatile-ttl, so it may forget which codes were used: " +
				"set it to noeviction (CONFIG SET maxmemory-policy noeviction, and in its redis.conf)",
		},
		"cluster": {[]string{"--cluster-enabled", "yes"}, "redis: the server is part of a Redis Cluster: "},
		"replica": {
			[]string{"--replicaof", "127.0.0.1 " + strconv.Itoa(master.Port())},
			"redis: the server is a slave: name the master, or use redis.sentinel",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, c.args...)
			if name == "cluster" {
				server.Do("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
				redistest.Eventually(t, "the cluster is up", func() bool {
					return strings.Contains(server.Do("CLUSTER", "INFO").(string), "cluster_state:ok")
				})
			}
			store, err := redisstore.Open(t.Context(), settings(server.Addr()), nil)
			if err == nil {
				_ = store.Close()
			}
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
}

// A policy that becomes unfit while the gate runs refuses everything, and is good again when it is mended.
func TestPolicyChangedMeanwhile(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	store := open(t, settings(server.Addr()))
	g := guard(store)
	server.Do("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
	redistest.Eventually(t, "noticed", func() bool { return refusal.Of(redeem(g, 1)) == refusal.StoreUnavailable })
	if err := g.Fresh(); refusal.Of(err) != refusal.StoreUnavailable {
		t.Errorf("codes are sealed: %v", err)
	}
	server.Do("CONFIG", "SET", "maxmemory-policy", "noeviction")
	redistest.Eventually(t, "mended", func() bool { return redeem(g, 2) == nil })
}

// A store that is down when the gate starts is waited for.
func TestDownAtStart(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.Kill()
	core, log := observer.New(zap.InfoLevel)
	store, err := redisstore.Open(t.Context(), settings(server.Addr()), zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	g := guard(store)
	if g.Epoch() != nil || refusal.Of(g.Fresh()) != refusal.StoreUnavailable ||
		refusal.Of(redeem(g, 1)) != refusal.StoreUnavailable {
		t.Errorf("a store that never answered: epoch %q, fresh %v", g.Epoch(), g.Fresh())
	}
	if all := log.FilterLevelExact(zap.ErrorLevel).All(); len(all) != 1 ||
		!strings.Contains(all[0].Message, "codes are neither issued nor redeemed") {
		t.Errorf("log: %v", all)
	}
	server.Restart()
	redistest.Eventually(t, "the store is there", func() bool { return g.Fresh() == nil })
	if err := redeem(g, 2); err != nil {
		t.Error(err)
	}
}

// A store that hangs is not waited for longer than the deadline, nor by however many at once, and nothing is accepted.
// What it was asked then may have been done: the code is spent, or it is not.
func TestStoreHangs(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	c := settings(server.Addr())
	c.Timeout, c.Pool = 200*time.Millisecond, 2
	store := open(t, c)
	g := guard(store)
	server.Stop()
	answers := make(chan error)
	const asked = 64
	for n := range asked {
		go func() { answers <- redeem(g, byte(n)) }()
	}
	for range asked {
		select {
		case err := <-answers:
			if refusal.Of(err) != refusal.StoreUnavailable {
				t.Errorf("got %v", err)
			}
		case <-time.After(time.Minute):
			t.Fatal("no answer")
		}
	}
	server.Continue()
	redistest.Eventually(t, "it answers again", func() bool {
		return redeem(g, 200) == nil ||
			refusal.Of(redeem(g, 201)) == refusal.CodeUsed
	})
}

// An answer that was lost on its way back is recognised by the second attempt: the one who asks is accepted, once.
func TestAnswerIsLost(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := newLossy(t, server.Addr())
	store := open(t, settings(proxy.address()))
	g := guard(store)
	if err := redeem(g, 1); err != nil { // so that the script is known to the server
		t.Fatal(err)
	}
	for n := byte(2); n < 12; n++ {
		proxy.lose.Store(true)
		if err := redeem(g, n); err != nil {
			t.Errorf("first redemption of %d, whose answer was lost: %v", n, err)
		}
		if proxy.lose.Load() {
			t.Fatal("nothing was lost")
		}
		if err := redeem(g, n); refusal.Of(err) != refusal.CodeUsed {
			t.Errorf("second redemption of %d: %v", n, err)
		}
	}
}

// A server that is full refuses, and forgets nothing.
func TestStoreIsFull(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	g := guard(open(t, settings(server.Addr())))
	if err := redeem(g, 1); err != nil {
		t.Fatal(err)
	}
	server.Do("CONFIG", "SET", "maxmemory", "1mb")
	if err := redeem(g, 2); refusal.Of(err) != refusal.StoreUnavailable {
		t.Errorf("full: %v", err)
	}
	server.Do("CONFIG", "SET", "maxmemory", "0")
	if err := redeem(g, 1); refusal.Of(err) != refusal.CodeUsed {
		t.Errorf("used before: %v", err)
	}
	if err := redeem(g, 2); err != nil {
		t.Errorf("room again: %v", err)
	}
}

// The user that docs/scaling.md describes can do what the gate needs, and no more.
const acl = "on >secret-of-the-gate ~{jotgate}:* resetchannels -@all +evalsha +eval +info +time +hmget +hget +hset " +
	"+hdel +hlen +hincrby " +
	"+set +get +del +incr +zadd +zrem +zrangebyscore +hello +auth +select +ping"

func TestACL(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.Do(append([]any{"ACL", "SETUSER", "gate"}, words(acl)...)...)
	server.Do("ACL", "SETUSER", "default", "resetpass", "-@all", "+acl")
	c := settings(server.Addr())
	c.Username, c.Password = "gate", "secret-of-the-gate"
	g := guard(open(t, c))
	if err := redeem(g, 1); err != nil {
		t.Fatal(err)
	}
	if err := redeem(g, 1); refusal.Of(err) != refusal.CodeUsed {
		t.Error(err)
	}
	c = settings(server.Addr())
	c.Username, c.Password = "gate", "wrong"
	store := open(t, c)
	if err := redeem(guard(store), 2); refusal.Of(err) != refusal.StoreUnavailable ||
		strings.Contains(err.Error(), "wrong") && !strings.Contains(err.Error(), "WRONGPASS") {
		t.Errorf("a wrong password: %v", err)
	}
}

func words(text string) (all []any) {
	for _, w := range strings.Fields(text) {
		all = append(all, w)
	}
	return all
}

// Both sides show certificates; a client without one of ours, or one that trusts another authority, is refused.
func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca, certificate, key := certificates(t, dir)
	port := free(t)
	server := redistest.Start(t, "--tls-port", strconv.Itoa(port), "--tls-cert-file", filepath.Join(dir, "cert.pem"),
		"--tls-key-file", filepath.Join(dir, "key.pem"), "--tls-ca-cert-file", filepath.Join(dir, "ca.pem"),
		"--tls-auth-clients", "yes")
	_ = server
	c := settings(net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	c.TLS = &config.RedisTLS{Authorities: ca, Certificate: certificate, Key: config.Secret(key), ServerName: "store.test"}
	if err := redeem(guard(open(t, c)), 1); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*config.RedisTLS){
		"another name":             func(c *config.RedisTLS) { c.ServerName = "other.test" },
		"the system's authorities": func(c *config.RedisTLS) { c.Authorities = "" },
		"no certificate":           func(c *config.RedisTLS) { c.Certificate = "" },
	} {
		other, own := *c, *c.TLS
		change(&own)
		other.TLS = &own
		if err := redeem(guard(open(t, &other)), 2); refusal.Of(err) != refusal.StoreUnavailable {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Sentinels name the master. When they promote a replica, everything from before is refused, also if the old master
// comes back and is promoted again: it was never restarted, and has its old run id.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	first := redistest.Start(t)
	second := redistest.Start(t, "--replicaof", "127.0.0.1 "+strconv.Itoa(first.Port()))
	follows := func(s *redistest.Server) bool {
		info := replication(s)
		return strings.Contains(info, "role:slave") && strings.Contains(info, "master_link_status:up")
	}
	redistest.Eventually(t, "the replica follows", func() bool { return follows(second) })
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	text := fmt.Sprintf("bind 127.0.0.1\nport %d\nsentinel monitor jotgate 127.0.0.1 %d 1\nsentinel "+
		"down-after-milliseconds jotgate 1000\n"+
		"sentinel failover-timeout jotgate 1000\n", free(t), first.Port())
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	sentinel := redistest.StartSentinel(t, conf)
	c := settings("")
	c.Address = ""
	c.Sentinel = &config.RedisSentinel{Master: "jotgate", Addresses: []string{sentinel.Addr()}}
	g := guard(open(t, c))
	redistest.Eventually(t, "the sentinel knows the master", func() bool {
		return redeem(g, 1) == nil ||
			refusal.Of(redeem(g, 1)) == refusal.CodeUsed
	})
	old := replay.Use{
		Client: "a", Nonce: [24]byte{1}, Expiry: time.Now().Add(9 * time.Minute).UnixMilli(),
		Epoch: g.Epoch(),
	}
	redistest.Eventually(t, "the sentinel knows the replica", func() bool {
		return strings.Contains(fmt.Sprint(sentinel.Do("SENTINEL", "replicas", "jotgate")), strconv.Itoa(second.Port()))
	})
	n := byte(1)
	// By hand, as a partition would have it: the first never restarts, and never hears of what the second accepts.
	for _, promoted := range []*redistest.Server{second, first} {
		redistest.Eventually(t, "a failover", func() bool {
			sentinelFailover(sentinel)
			return strings.Contains(replication(promoted), "role:master")
		})
		redistest.Eventually(t, "the old code is of another epoch", func() bool {
			err := g.Consume(t.Context(), old)
			if err == nil {
				t.Fatal("a code that was used before the failover was accepted")
			}
			return refusal.Of(err) == refusal.CodeOtherEpoch
		})
		redistest.Eventually(t, "codes again", func() bool { n++; return redeem(g, n) == nil })
		other := second
		if promoted == second {
			other = first
		}
		redistest.Eventually(t, "the old master follows", func() bool { return follows(other) })
	}
}

// Demoted and promoted again without anybody looking: the run id and the sentinel are what they were, and the marks
// that were set meanwhile are gone.
func TestPromotedAgainUnseen(t *testing.T) {
	t.Parallel()
	first := redistest.Start(t)
	second := redistest.Start(t, "--replicaof", "127.0.0.1 "+strconv.Itoa(first.Port()))
	redistest.Eventually(t, "it follows", func() bool {
		return strings.Contains(second.Do("INFO", "replication").(string), "master_link_status:up")
	})
	g := guard(open(t, settings(first.Addr())))
	if err := g.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	redistest.Eventually(t, "the replica has the epoch",
		func() bool { return second.Do("HGET", "{jotgate}:epoch", "id") == string(g.Epoch()) })
	second.Do("REPLICAOF", "NO", "ONE") // a partition: what the first accepts from now on, the second never hears
	old := replay.Use{
		Client: "a", Nonce: [24]byte{1}, Expiry: time.Now().Add(9 * time.Minute).UnixMilli(),
		Epoch: g.Epoch(),
	}
	if err := g.Consume(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	first.Do("REPLICAOF", "127.0.0.1", second.Port())
	redistest.Eventually(t, "the first has forgotten", func() bool {
		return strings.Contains(first.Do("INFO", "replication").(string), "master_link_status:up") &&
			first.Do("DBSIZE") == int64(1)
	})
	first.Do("REPLICAOF", "NO", "ONE")
	// A look that came in between may have seen a replica; then nothing is accepted until the next one.
	redistest.Eventually(t, "the code is refused as of another epoch", func() bool {
		err := g.Consume(t.Context(), old)
		if refusal.Of(err) != refusal.CodeOtherEpoch && refusal.Of(err) != refusal.StoreUnavailable {
			t.Fatalf("the store has forgotten that the code was used: %v", err)
		}
		return refusal.Of(err) == refusal.CodeOtherEpoch
	})
}

// A server whose clock went back ends the epoch; here the record says that it was later already.
func TestClockWentBack(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	g := guard(open(t, settings(server.Addr())))
	old := replay.Use{Client: "a", Nonce: [24]byte{1}, Expiry: time.Now().Add(time.Minute).UnixMilli(), Epoch: g.Epoch()}
	server.Do("HSET", "{jotgate}:epoch", "seen", time.Now().Add(time.Hour).UnixMilli())
	if err := g.Consume(t.Context(), old); refusal.Of(err) != refusal.CodeOtherEpoch {
		t.Errorf("got %v", err)
	}
	if err := redeem(g, 2); err != nil {
		t.Errorf("after: %v", err)
	}
}

// A mark must live long enough for every replica: what the epoch began with counts for all, whatever they are
// configured with.
func TestReplicasWithAnotherSkew(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	c := settings(server.Addr())
	c.Skew = 100 * time.Millisecond
	one := guard(open(t, c))
	wide := *c
	wide.Skew = time.Minute
	store := open(t, &wide)
	other := guard(store)
	if got := store.Skew(); got != c.Skew {
		t.Errorf("skew %v, the epoch began with %v", got, c.Skew)
	}
	u := replay.Use{
		Client: "a", Nonce: [24]byte{1}, Expiry: time.Now().Add(200 * time.Millisecond).UnixMilli(),
		Epoch: one.Epoch(),
	}
	if err := one.Consume(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	redistest.Eventually(t, "the mark has ended", func() bool {
		if err := other.Consume(t.Context(), u); err == nil {
			t.Fatal("accepted twice")
		}
		return server.Do("DBSIZE") == int64(1)
	})
	if err := other.Consume(t.Context(), u); refusal.Of(err) != refusal.CodeBelowFloor {
		t.Errorf("after: %v", err)
	}
}

// A replica whose clock is wrong cannot have a code accepted whose mark is gone, nor set marks that last for ever.
func TestReplicaWhoseClockIsWrong(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	c := settings(server.Addr())
	c.Skew = 100 * time.Millisecond
	g := guard(open(t, c))
	use := func(expires time.Duration) replay.Use {
		return replay.Use{Client: "a", Nonce: [24]byte{1}, Expiry: time.Now().Add(expires).UnixMilli(), Epoch: g.Epoch()}
	}
	if err := g.Consume(t.Context(), use(-150*time.Millisecond)); refusal.Of(err) != refusal.CodeBelowFloor {
		t.Errorf("a code that has ended: %v", err)
	}
	if err := g.Consume(t.Context(), use(time.Hour)); refusal.Of(err) != refusal.CodeNotYetValid {
		t.Errorf("a code of the far future: %v", err)
	}
	u := use(300 * time.Millisecond)
	if err := g.Consume(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	gone := func() bool { return server.Do("EXISTS", "{jotgate}:code:"+string(u.Nonce[:])) == int64(0) }
	for range 3 {
		redistest.Eventually(t, "its mark has ended", func() bool {
			if err := g.Consume(t.Context(), u); err == nil {
				t.Fatal("accepted twice")
			}
			return gone()
		})
	}
}

// replication is what a server says of its part, or "" while it closes connections because that changes.
func replication(s *redistest.Server) string {
	info, _ := s.Client().Info(context.Background(), "replication").Result()
	return info
}

// sentinelFailover asks for a failover; one that is under way, or not possible yet, is not worth failing for.
func sentinelFailover(s *redistest.Server) {
	_ = s.Client().Do(context.Background(), "SENTINEL", "failover", "jotgate").Err()
}

// certificates writes a CA and a certificate of it for store.test, and answers their PEM.
func certificates(t *testing.T, dir string) (ca, certificate, key string) {
	t.Helper()
	make := func(name string, template, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate,
		*ecdsa.PrivateKey, string,
	) {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if parent == nil {
			parent, signer = template, private
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, private.Public(), signer)
		if err != nil {
			t.Fatal(err)
		}
		made, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
		return made, private, string(text)
	}
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{"store.test"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter:    time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signer, ca := make("ca.pem", authority, nil, nil)
	_, private, certificate := make("cert.pem", leaf, parent, signer)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := os.WriteFile(filepath.Join(dir, "key.pem"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return ca, certificate, string(text)
}

func free(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}
