package config

import (
	"crypto/tls"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	yaml "github.com/jotgate/jotgate/internal/strictyaml"
)

// Redis is the memory that replicas share.
type Redis struct {
	Network  string // tcp or unix
	Address  string // host:port or a socket's path; "" with Sentinel
	Username string // of an ACL; "": the default user
	Password Secret
	Database int
	TLS      *RedisTLS      // nil: plain TCP
	Sentinel *RedisSentinel // nil: the server at Address

	Pool        int           // connections
	DialTimeout time.Duration // for one connection
	Timeout     time.Duration // for one operation, whatever becomes of its connection
	Prefix      string        // of our keys
	Skew        time.Duration // by how much the clocks of replicas and store may differ
}

// RedisTLS is how the store is checked and how we show who we are. The PEM is in the fields, not its file's name.
type RedisTLS struct {
	Authorities string // "": the system's
	Certificate string // "": none is shown
	Key         Secret
	ServerName  string // "": the address's host
}

// RedisSentinel names the processes that know which server is the master now.
type RedisSentinel struct {
	Master    string
	Addresses []string
	Username  string
	Password  Secret
}

const defaultRedisPort = "6379"

func (b *builder) buildRedis() {
	if !b.file.redis.Given {
		return
	}
	w := &b.file.redis.Value
	r := &Redis{
		Network: "tcp", Username: w.username, Password: w.password.Value,
		Pool: w.pool, DialTimeout: w.dialTimeout, Timeout: w.timeout, Prefix: w.prefix, Skew: w.skew,
	}
	b.Redis = r
	if b.file.clockLeeway > w.skew {
		b.Fault(b.file.redis.At, "has a skew of "+w.skew.String()+", which is less than clock_leeway, "+
			b.file.clockLeeway.String(),
			"raise redis.skew to at least clock_leeway: replicas accept what was made so far ahead of their clocks")
	}
	switch {
	case w.url.Given == w.sentinel.Given:
		b.Fault(
			b.file.redis.At,
			"must have exactly one of url and sentinel",
			"write {url: redis://127.0.0.1:6379/0}, or {sentinel: {master: …, addresses: […]}}",
		)
	case w.sentinel.Given:
		s := &w.sentinel.Value
		r.Sentinel = &RedisSentinel{Master: s.master, Username: s.username, Password: s.password}
		r.Database = s.database
		r.Sentinel.Addresses = append(r.Sentinel.Addresses, yaml.Values(s.addresses)...)
	case !w.url.Bad:
		b.redisURL(w, r)
	}
	if w.tls.Given {
		b.redisTLS(&w.tls.Value, r)
	}
}

// redisURL takes the address apart. What it says of the user must not be said a second time.
func (b *builder) redisURL(w *writtenRedis, r *Redis) {
	u, _ := parseRedisURL(w.url.Value.Reveal()) // checked when it was read
	if u == nil {
		return
	}
	r.Network, r.Address, r.Database = u.network, u.address, u.database
	if u.user != "" || u.password != "" {
		if w.username != "" || w.password.Given {
			b.Fault(w.url.At, "has a user or password, and so do username or password", "set them only once")
		}
		r.Username, r.Password = u.user, Secret(u.password)
	}
	switch {
	case u.tls:
		r.TLS = &RedisTLS{}
	case w.tls.Given:
		b.Fault(w.tls.At, "has no effect without rediss://", "write rediss:// in url, or remove tls")
	}
}

func (b *builder) redisTLS(w *writtenRedisTLS, r *Redis) {
	t := &RedisTLS{Authorities: b.authorities(w.ca), ServerName: w.serverName}
	if w.cert.Given != w.key.Given {
		b.Fault(b.file.redis.Value.tls.At, "has only one of cert and key", "set both, or neither")
	}
	if w.cert.Usable() && w.key.Usable() && w.cert.Given && w.key.Given {
		cert, certOK := b.contents(w.cert)
		key, keyOK := b.contents(w.key)
		if certOK && keyOK {
			if _, err := tls.X509KeyPair(cert, key); err != nil {
				b.Fault(
					w.cert.At,
					w.cert.Shown+" and its key do not work together ("+strings.TrimPrefix(err.Error(), "tls: ")+")",
					"name a PEM certificate and its private key",
				)
			}
			t.Certificate, t.Key = string(cert), Secret(key)
		}
	}
	r.TLS = t
}

type redisURL struct {
	network, address string
	tls              bool
	user, password   string
	database         int
}

// parseRedisURL reads redis://user:password@host:port/database, rediss:// for TLS, and unix:///path for a socket; the
// problem says nothing of what it read, which holds a password.
func parseRedisURL(s string) (parsed *redisURL, problem string) {
	u, err := url.Parse(s)
	if err != nil || u.Opaque != "" || u.RawQuery != "" || u.ForceQuery || strings.Contains(s, "#") {
		return nil, "is not a store URL"
	}
	p := &redisURL{network: "tcp", tls: u.Scheme == "rediss", user: u.User.Username()}
	p.password, _ = u.User.Password()
	switch u.Scheme {
	case "unix":
		p.network, p.address = "unix", u.Path
		if u.Host != "" || u.Path == "" {
			return nil, "names no socket path"
		}
		return p, ""
	case "redis", "rediss":
	default:
		return nil, "is neither redis:// nor rediss:// nor unix://"
	}
	port := u.Port()
	if port == "" {
		port = defaultRedisPort
	}
	if n, ok := yaml.Digits(port); !ok || n < 1 || n > 65535 || u.Hostname() == "" {
		return nil, "has no host, or an invalid port"
	}
	p.address = net.JoinHostPort(u.Hostname(), port)
	if number := strings.TrimPrefix(u.Path, "/"); number != "" {
		n, ok := yaml.Digits(number)
		if !ok || n > mostDatabase {
			return nil, "has a path that is not a database number"
		}
		p.database, _ = strconv.Atoi(number)
	}
	return p, ""
}

const mostDatabase = 1 << 16

func isRedisURL(s string) (problem, remedy string) {
	if _, problem := parseRedisURL(s); problem != "" {
		return problem, "write it like redis://127.0.0.1:6379/0, rediss://user:password@store.example.com:6380/0 or " +
			"unix:///run/redis.sock"
	}
	return "", ""
}

func isRemoteAddress(s string) (problem, remedy string) {
	host, port, err := net.SplitHostPort(s)
	if n, ok := yaml.Digits(port); err != nil || !ok || n < 1 || n > 65535 || host == "" || !visible(s) {
		return "is not host:port", "write it like 10.0.0.1:26379"
	}
	return "", ""
}

func isKeyPrefix(s string) (problem, remedy string) {
	if len(s) > 64 || !plainRunes(s, "._:-") {
		return "is not a key prefix", "use 1 to 64 of A-Z a-z 0-9 . _ : -"
	}
	return "", ""
}

func isStorePassword(s string) (problem, remedy string) {
	if s == "" || len(s) > 1024 {
		return "is empty or longer than 1024 bytes", "write it as \"${env:NAME}\", or leave the key out"
	}
	return "", ""
}
