//go:build linux

package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

const (
	cachedMemory, cachedStore = "known token, memory", "known token, store"
	redeemMemory, redeemStore = "redeem, memory", "redeem, store"
	storeItself               = "redis itself, per redemption"
)

// store holds a gate that shares its memory in Redis against one that keeps it to itself: where a token is known, which
// must cost the same, and where a code is redeemed, which takes a question to the store. The store has the load's core,
// so the gate's CPU time is its own.
func store(ctx context.Context, b *bench, r *Case) error {
	file, err := b.requests("good-ES256", "GET", []string{goodPath}, b.tokens.good["ES256"])
	if err != nil {
		return err
	}
	l := load{file: file, many: b.connections}
	redis, err := b.redis(ctx)
	if err != nil {
		return err
	}
	alone, err := b.jotgate(ctx, gateOf{name: "gate alone", binary: b.gate})
	if err != nil {
		return err
	}
	sharing, err := b.jotgate(ctx, gateOf{name: "gate with a store", binary: b.gate, store: redis.address})
	if err != nil {
		return err
	}
	manage, err := b.management("ES256")
	if err != nil {
		return err
	}
	all := []*contestant{
		b.onWrk(cachedMemory, alone, l), b.onWrk(cachedStore, sharing, l),
		b.redeemer(redeemMemory, alone, alone.process, manage),
		b.redeemer(redeemStore, sharing, sharing.process, manage),
		b.redeemer(storeItself, sharing, redis.process, manage),
	}
	err = b.compete(ctx, r, all, []pair{
		{cachedStore, cachedMemory, 1.05}, {redeemStore, redeemMemory, 0}, {storeItself, redeemMemory, 0},
	})
	if err != nil {
		return err
	}
	with, without := r.figure(redeemStore), r.figure(redeemMemory)
	r.Ratios = append(r.Ratios, Ratio{
		Of: "redemptions/s, store", By: "redemptions/s, memory", Spread: paired(with.rates, without.rates),
	})
	return nil
}

// redeemer redeems codes that were fetched before the turn, each once, and charges a process for it.
func (b *bench) redeemer(name string, gate *server, charged *process, manage string) *contestant {
	var codes [][]byte
	return &contestant{
		name: name, process: charged,
		prepare: func(ctx context.Context) (err error) {
			codes, err = newCodes(ctx, gate.address, manage, b.codes)
			return errors.Join(err, gate.forgetLog(ctx))
		},
		turn: func(ctx context.Context) (tally, error) {
			return post(ctx, gate.address, redeemPath, "", b.connections, codes, http.StatusCreated, nil)
		},
	}
}

// redis starts a store that keeps nothing on disk, beside the load.
func (b *bench) redis(ctx context.Context) (*server, error) {
	folder, err := b.newFolder("redis")
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	p, err := b.running.start("redis", b.loadCPU, b.path("redis.log"), b.tools.redis, "--bind", host, "--port", port,
		"--dir", folder,
		"--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction")
	if err != nil {
		return nil, err
	}
	s := &server{process: p, address: address}
	return s, s.answersPing(ctx)
}

// answersPing waits for a store to answer.
func (s *server) answersPing(ctx context.Context) error {
	return s.await(ctx, 5*time.Millisecond, func(ctx context.Context) error { return ping(ctx, s.address) })
}

func ping(ctx context.Context, address string) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := io.WriteString(c, "PING\r\n"); err != nil {
		return err
	}
	answer, err := bufio.NewReader(c).ReadString('\n')
	if err == nil && answer != "+PONG\r\n" {
		err = fmt.Errorf("%q instead of a pong", answer)
	}
	return err
}

// sharing is the part of a gate's configuration that has it share what it remembers.
func (o gateOf) sharing() (secrets, shared string) {
	if o.store == "" {
		return "", ""
	}
	secret := make([]byte, 32)
	rand.Read(secret) // never fails (crypto/rand)
	return fmt.Sprintf("  code_secrets: [%q]\n", base64.RawURLEncoding.EncodeToString(secret)),
		fmt.Sprintf("replicas: 2\nreplay: {store: redis}\nredis: {url: \"redis://%s/0\"}\n", o.store)
}
