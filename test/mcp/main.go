// Command mcp is an MCP client of the official Go SDK, for the tests: mcp URL ID SECRET [own]. From the refusal of the
// MCP server at URL it finds its way to a token of the authorization server that this names, and prints what a tool
// says. With own it leaves that to the SDK's handler of client credentials, which names no resource (RFC 8707).
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/auth/extauth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 4 {
		log.Fatal("mcp URL ID SECRET [own]")
	}
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	said, err := ask(ctx, os.Args[1], os.Args[2], os.Args[3], len(os.Args) > 4)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(said)
}

func ask(ctx context.Context, endpoint, id, secret string, own bool) (string, error) {
	var handler auth.OAuthHandler = &discovery{id: id, secret: secret}
	if own {
		var err error
		if handler, err = extauth.NewClientCredentialsHandler(&extauth.ClientCredentialsHandlerConfig{
			Credentials: &oauthex.ClientCredentials{
				ClientID: id, ClientSecretAuth: &oauthex.ClientSecretAuth{ClientSecret: secret},
			},
		}); err != nil {
			return "", err
		}
	}
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1.0.0"}, nil)
	session, err := client.Connect(ctx, &mcp.StreamableClientTransport{Endpoint: endpoint, OAuthHandler: handler}, nil)
	if err != nil {
		return "", err
	}
	defer session.Close()
	tools, err := session.ListTools(ctx, nil)
	if err != nil {
		return "", err
	}
	result, err := session.CallTool(ctx, &mcp.CallToolParams{Name: "who"})
	if err != nil {
		return "", err
	}
	text, ok := result.Content[0].(*mcp.TextContent)
	if !ok || len(tools.Tools) != 1 {
		return "", fmt.Errorf("%d tools, and %T", len(tools.Tools), result.Content[0])
	}
	return tools.Tools[0].Name + ": " + text.Text, nil
}

// A discovery gets a token for the resource, as the MCP specification has it: by the challenge, the metadata of the
// resource, and those of its authorization server.
type discovery struct {
	id, secret string
	tokens     oauth2.TokenSource
}

func (d *discovery) TokenSource(context.Context) (oauth2.TokenSource, error) { return d.tokens, nil }

func (d *discovery) Authorize(ctx context.Context, r *http.Request, a *http.Response) error {
	defer a.Body.Close()
	challenges, err := oauthex.ParseWWWAuthenticate(a.Header.Values("WWW-Authenticate"))
	if err != nil {
		return err
	}
	var metadata, scope string
	for _, c := range challenges {
		if c.Scheme == "bearer" && c.Params["resource_metadata"] != "" {
			metadata, scope = c.Params["resource_metadata"], c.Params["scope"]
		}
	}
	if metadata == "" {
		return errors.New("the challenge names no resource_metadata")
	}
	resource, err := oauthex.GetProtectedResourceMetadata(ctx, metadata, r.URL.String(), http.DefaultClient)
	if err != nil {
		return err
	}
	if len(resource.AuthorizationServers) == 0 {
		return errors.New("the resource names no authorization server")
	}
	server, err := auth.GetAuthServerMetadata(ctx, resource.AuthorizationServers[0], http.DefaultClient)
	if err != nil || server == nil {
		return fmt.Errorf("no metadata of %s: %w", resource.AuthorizationServers[0], err)
	}
	config := &clientcredentials.Config{
		ClientID: d.id, ClientSecret: d.secret, TokenURL: server.TokenEndpoint,
		EndpointParams: url.Values{"resource": {resource.Resource}},
	}
	if scope != "" {
		config.Scopes = []string{scope}
	}
	d.tokens = config.TokenSource(ctx)
	return nil
}
