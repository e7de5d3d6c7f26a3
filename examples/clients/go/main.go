// A service that calls an API, with golang.org/x/oauth2 and go-jose: client_credentials, a DPoP-bound token, nonces.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// A Prover adds a DPoP proof to every request, and keeps what that needs: the key, and the newest nonce of each server.
type Prover struct {
	base   http.RoundTripper
	signer jose.Signer

	mutex  sync.Mutex
	nonces map[string]string
}

// NewProver makes a key for the life of the process.
func NewProver(base http.RoundTripper) (*Prover, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	options := (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt")
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, options)
	if err != nil {
		return nil, err
	}
	return &Prover{base: base, signer: signer, nonces: make(map[string]string)}, nil
}

// RoundTrip sends a request with a proof, and once more if it was refused for want of a newer nonce (RFC 9449 §8, §9).
func (p *Prover) RoundTrip(request *http.Request) (*http.Response, error) {
	origin := request.URL.Scheme + "://" + request.URL.Host
	before := p.nonce(origin)
	answer, err := p.send(request, before)
	if err != nil {
		return nil, err
	}
	nonce := answer.Header.Get("DPoP-Nonce")
	if nonce == "" {
		return answer, nil
	}
	p.mutex.Lock()
	p.nonces[origin] = nonce
	p.mutex.Unlock()
	refused := answer.StatusCode == http.StatusBadRequest || answer.StatusCode == http.StatusUnauthorized
	if !refused || nonce == before || (request.Body != nil && request.GetBody == nil) {
		return answer, nil
	}
	again := request.Clone(request.Context())
	if request.GetBody != nil {
		if again.Body, err = request.GetBody(); err != nil {
			return answer, nil
		}
	}
	_ = answer.Body.Close()
	return p.send(again, nonce)
}

func (p *Prover) nonce(origin string) string {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.nonces[origin]
}

func (p *Prover) send(request *http.Request, nonce string) (*http.Response, error) {
	proof, err := p.proof(request, nonce)
	if err != nil {
		return nil, err
	}
	request = request.Clone(request.Context())
	request.Header.Set("DPoP", proof)
	return p.base.RoundTrip(request)
}

// A proof for this request (RFC 9449 §4.2): a new one each time.
func (p *Prover) proof(request *http.Request, nonce string) (string, error) {
	target := *request.URL
	target.RawQuery, target.Fragment, target.RawFragment = "", "", ""
	claims := map[string]any{
		"htm": request.Method,
		"htu": target.String(),
		"iat": time.Now().Unix(),
		"jti": rand.Text(),
	}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	// At the token endpoint this header has the credentials of the client, if it has any.
	if scheme, token, _ := strings.Cut(request.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "DPoP") {
		hash := sha256.Sum256([]byte(token))
		claims["ath"] = base64.RawURLEncoding.EncodeToString(hash[:])
	}
	return jwt.Signed(p.signer).Claims(claims).Serialize()
}

// The token endpoint that an issuer names in its metadata (RFC 8414).
func tokenEndpoint(client *http.Client, issuer string) (string, error) {
	answer, err := client.Get(issuer + "/.well-known/oauth-authorization-server")
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	var metadata struct {
		Issuer        string `json:"issuer"`
		TokenEndpoint string `json:"token_endpoint"`
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, 1<<18)).Decode(&metadata); err != nil {
		return "", err
	}
	if metadata.Issuer != issuer || metadata.TokenEndpoint == "" {
		return "", errors.New("this is the metadata of somebody else")
	}
	return metadata.TokenEndpoint, nil
}

func run() error {
	issuer, resource := os.Getenv("ISSUER"), os.Getenv("RESOURCE")
	prover, err := NewProver(http.DefaultTransport)
	if err != nil {
		return err
	}
	endpoint, err := tokenEndpoint(&http.Client{Timeout: 10 * time.Second}, issuer)
	if err != nil {
		return err
	}
	config := clientcredentials.Config{
		ClientID:       os.Getenv("CLIENT_ID"),
		ClientSecret:   os.Getenv("CLIENT_SECRET"),
		TokenURL:       endpoint,
		EndpointParams: url.Values{"resource": {resource}},
		AuthStyle:      oauth2.AuthStyleInHeader,
	}
	// It fetches tokens through the prover, keeps and renews them, and sends them as `DPoP`, since that is their type.
	client := &http.Client{Transport: prover, Timeout: 10 * time.Second}
	api := config.Client(context.WithValue(context.Background(), oauth2.HTTPClient, client))
	answer, err := api.Get(resource + "/orders")
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return err
	}
	fmt.Println(answer.StatusCode, string(body))
	return nil
}

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}
