// A foreign issuer for the tests: the OpenID provider of zitadel/oidc, with the storage of its own example. It listens
// on a free port of this machine, says its issuer in a line, and ends when its standard input does. With arguments it
// is a client instead: ISSUER ID SECRET TOKEN exchanges a token at that issuer, and prints what comes out. It is a
// module of its own, so that what it needs is nothing that the gate needs.
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/client/tokenexchange"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

func main() {
	run := serve
	if len(os.Args) == 5 {
		run = func() error { return exchange(os.Args[1], os.Args[2], os.Args[3], os.Args[4]) }
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve() error {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	issuer := "http://" + l.Addr().String()
	users := storage.NewUserStore(issuer)
	shop := storage.WebClient("shop", "a-secret-of-this-test-alone", "http://127.0.0.1/callback")
	store := &jwtStorage{storage.NewStorageWithClients(users, map[string]*storage.Client{"shop": shop})}
	config := &op.Config{CodeMethodS256: true, AuthMethodPost: true}
	_, _ = rand.Read(config.CryptoKey[:]) // never fails
	provider, err := op.NewProvider(config, store, op.StaticIssuer(issuer), op.WithAllowInsecure())
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	callback := op.AuthCallbackURL(provider)
	// Every visitor is the one user that there is: the page that would ask for his password is not what is tested.
	mux.Handle("/login/username",
		op.NewIssuerInterceptor(provider.IssuerFromRequest).HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id := r.FormValue("authRequestID")
			if err := store.CheckUsernamePassword("test-user@127.0.0.1", "verysecure", id); err != nil {
				http.Error(w, err.Error(), http.StatusForbidden)
				return
			}
			http.Redirect(w, r, callback(r.Context(), id), http.StatusFound)
		}))
	mux.Handle("/", provider)
	go func() { _ = http.Serve(l, mux) }() // until the process ends
	fmt.Println(issuer)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// exchange exchanges an access token (RFC 8693), as the client of zitadel/oidc does it.
func exchange(issuer, id, secret, token string) error {
	ctx := context.Background()
	client, err := tokenexchange.NewTokenExchangerClientCredentials(ctx, issuer, id, secret)
	if err != nil {
		return err
	}
	answer, err := tokenexchange.ExchangeToken(ctx, client, token, oidc.AccessTokenType, "", "", nil, nil,
		[]string{"READ"}, oidc.AccessTokenType)
	if err != nil {
		return err
	}
	if answer.IssuedTokenType != oidc.AccessTokenType || len(answer.Scopes) != 1 || answer.Scopes[0] != "READ" {
		return fmt.Errorf("type %s, scope %s", answer.IssuedTokenType, answer.Scopes)
	}
	fmt.Println(answer.AccessToken)
	return nil
}

// A jwtStorage has access tokens that can be read, with the user's roles.
type jwtStorage struct{ *storage.Storage }

func (s *jwtStorage) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	c, err := s.Storage.GetClientByClientID(ctx, id)
	return jwtClient{c}, err
}

func (s *jwtStorage) GetPrivateClaimsFromScopes(context.Context, string, string, []string) (map[string]any, error) {
	return map[string]any{
		"realm":                                 map[string]any{"roles": []string{"auditor"}},
		"urn:zitadel:iam:org:project:roles":     map[string]any{"auditor": map[string]any{"acme": "acme.example"}},
		"urn:zitadel:iam:user:resourceowner:id": "acme",
	}, nil
}

type jwtClient struct{ op.Client }

func (jwtClient) AccessTokenType() op.AccessTokenType { return op.AccessTokenTypeJWT }
func (jwtClient) DevMode() bool                       { return true }
