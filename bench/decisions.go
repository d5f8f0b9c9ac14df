//go:build linux

package main

import (
	"context"
	"fmt"
)

const (
	proxiedHit  = "jotgate proxies"
	decidedHit  = "jotgate decides"
	askedKept   = "jotgate, asked by nginx"
	askedAnew   = "jotgate, asked by nginx on new connections"
	askingKept  = "nginx, asking"
	askingAnew  = "nginx, asking on new connections"
	envoyPrefix = "/envoy"
)

// decisions holds a question of another proxy against a request that the gate forwards itself, both with a known token.
// Then nginx asks by auth_request, as examples/fronts/nginx does, on kept connections and without them: what that costs
// nginx, and what it costs the gate.
func decisions(ctx context.Context, b *bench, r *Case) error {
	forwarded, err := b.requests("good-ES256", "GET", []string{goodPath}, b.tokens.good["ES256"])
	if err != nil {
		return err
	}
	asked, err := b.requests("asked-ES256", "GET", []string{envoyPrefix + goodPath}, b.tokens.good["ES256"])
	if err != nil {
		return err
	}
	question, err := freeAddress()
	if err != nil {
		return err
	}
	gate, err := b.jotgate(ctx, gateOf{name: gateName, binary: b.gate, decision: question})
	if err != nil {
		return err
	}
	plain, err := b.nginx(ctx, nil)
	if err != nil {
		return err
	}
	kept, err := b.askingNginx(ctx, askingKept, question, "keepalive 128; keepalive_requests 1000000000;")
	if err != nil {
		return err
	}
	anew, err := b.askingNginx(ctx, askingAnew, question, "")
	if err != nil {
		return err
	}
	l := load{file: forwarded, many: b.connections}
	charged := func(name string, to *process, s *server) *contestant {
		c := b.onWrk(name, s, l)
		c.process, c.prepare = to, gate.forgetLog
		return c
	}
	answers := &server{process: gate.process, address: question}
	decided := b.onWrk(decidedHit, answers, load{file: asked, many: b.connections})
	return b.compete(ctx, r, []*contestant{
		b.onWrk(nginxName, plain, l), b.onWrk(proxiedHit, gate, l), decided,
		charged(askedKept, gate.process, kept), charged(askingKept, kept.process, kept),
		charged(askedAnew, gate.process, anew), charged(askingAnew, anew.process, anew),
	}, []pair{
		{decidedHit, proxiedHit, 0.8},
		{askedKept, proxiedHit, 0},
		{askedAnew, askedKept, 0},
		{askingKept, nginxName, 0},
		{askingAnew, askingKept, 0},
	})
}

// askingNginx is a reverse proxy that asks the gate about each request.
func (b *bench) askingNginx(ctx context.Context, name, question, keep string) (*server, error) {
	folder, err := b.newFolder("asking")
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	p, err := b.startNginx(name, b.gateCPU, folder, fmt.Sprintf(`
  upstream app { server %s; keepalive 128; keepalive_requests 1000000000; keepalive_timeout 1h; }
  upstream jotgate { server %s; %s }
  server {
    listen %s;
    location / {
      auth_request /_jotgate;
      auth_request_set $subject $upstream_http_x_jotgate_subject;
      auth_request_set $tenant $upstream_http_x_jotgate_tenant;
      auth_request_set $actions $upstream_http_x_jotgate_actions;
      proxy_set_header X-Jotgate-Subject $subject;
      proxy_set_header X-Jotgate-Tenant $tenant;
      proxy_set_header X-Jotgate-Actions $actions;
      proxy_set_header Authorization "";
      proxy_set_header Host $host;
      proxy_set_header Connection "";
      proxy_http_version 1.1;
      proxy_pass http://app;
    }
    location = /_jotgate {
      internal;
      proxy_pass http://jotgate/nginx;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
      proxy_set_header X-Original-Method $request_method;
      proxy_set_header X-Original-URI $request_uri;
      proxy_set_header X-Original-URL "";
      proxy_set_header Host $http_host;
    }
  }
`, b.app.address, question, keep, address))
	if err != nil {
		return nil, err
	}
	s := &server{process: p, address: address}
	return s, b.ready(ctx, s, "ES256")
}
