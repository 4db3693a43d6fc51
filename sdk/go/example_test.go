package flotilla_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

// devNode is the node that the examples talk to: a real one, started by the
// first example that runs.
type devNode struct {
	once    sync.Once
	err     error
	process *exec.Cmd
	dir     string
	URL     string `json:"api_url"`
	APIKey  string `json:"api_key"`
}

var exampleNode devNode

func TestMain(m *testing.M) {
	code := m.Run()
	exampleNode.stop()
	os.Exit(code)
}

func (n *devNode) start() error {
	var err error
	if n.dir, err = os.MkdirTemp("", "flotilla-example"); err != nil {
		return err
	}
	binary := filepath.Join(n.dir, "flotilla")
	if out, err := exec.Command("go", "build", "-o", binary, "../../ops/cmd/flotilla").CombinedOutput(); err != nil {
		return fmt.Errorf("build the node: %w: %s", err, out)
	}
	data := filepath.Join(n.dir, "data")
	n.process = exec.Command(binary, "dev", "--data-dir", data, "--listen-api", "127.0.0.1:0", "--listen-ops", "127.0.0.1:0", "--listen-etcd", "127.0.0.1:0")
	n.process.Env = append(os.Environ(), "XDG_CONFIG_HOME="+filepath.Join(n.dir, "config"))
	n.process.Stderr = os.Stderr
	out, err := n.process.StdoutPipe()
	if err != nil {
		return err
	}
	if err := n.process.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "flotilla is ready") {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			info, err := os.ReadFile(filepath.Join(data, "dev.json"))
			if err != nil {
				return err
			}
			return json.Unmarshal(info, n)
		}
	}
	return errors.New("the node ended before it was ready")
}

func (n *devNode) stop() {
	if n.process != nil && n.process.Process != nil {
		_ = n.process.Process.Kill()
		_ = n.process.Wait()
	}
	if n.dir != "" {
		_ = os.RemoveAll(n.dir)
	}
}

// namespace is the keys of a namespace of its own for an example.
func namespace(name string) *flotilla.KV { return wholeNamespace(name).KV }

// wholeNamespace is a namespace of its own for an example.
func wholeNamespace(name string) *flotilla.Namespace {
	exampleNode.once.Do(func() { exampleNode.err = exampleNode.start() })
	if exampleNode.err != nil {
		panic(exampleNode.err)
	}
	client, err := flotilla.New(flotilla.Config{URL: exampleNode.URL, APIKey: exampleNode.APIKey, Timeout: 30 * time.Second})
	if err != nil {
		panic(err)
	}
	if err := client.CreateNamespaces(context.Background(), name); err != nil {
		panic(err)
	}
	return client.Namespace(name)
}

func ExampleKV_Put() {
	ctx, kv := context.Background(), namespace("put")
	put, err := kv.Put(ctx, "greeting", []byte("hello"), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("revision", put.Revision)

	_, err = kv.Put(ctx, "greeting", []byte("good day"), &flotilla.PutOptions{IfRevision: 99})
	fmt.Println("changed meanwhile:", errors.Is(err, flotilla.ErrRevisionMismatch))

	_, err = kv.Put(ctx, "greeting", []byte("good day"), &flotilla.PutOptions{IfAbsent: true})
	fmt.Println("exists:", errors.Is(err, flotilla.ErrKeyExists))
	// Output:
	// revision 2
	// changed meanwhile: true
	// exists: true
}

func ExampleKV_Get() {
	ctx, kv := context.Background(), namespace("get")
	first, _ := kv.Put(ctx, "color", []byte("red"), nil)
	_, _ = kv.Put(ctx, "color", []byte("blue"), nil)

	now, _ := kv.Get(ctx, "color", nil)
	before, _ := kv.Get(ctx, "color", &flotilla.GetOptions{Revision: first.Revision})
	fmt.Printf("%s, before %s, version %d\n", now.Value, before.Value, now.Version)

	_, err := kv.Get(ctx, "shape", nil)
	fmt.Println("not found:", errors.Is(err, flotilla.ErrKeyNotFound))
	// Output:
	// blue, before red, version 2
	// not found: true
}

func ExampleKV_Delete() {
	ctx, kv := context.Background(), namespace("delete")
	_, _ = kv.Put(ctx, "tmp/a", nil, nil)
	_, _ = kv.Put(ctx, "tmp/b", nil, nil)
	_, _ = kv.Put(ctx, "kept", nil, nil)
	one, _ := kv.Delete(ctx, "tmp/a", nil)
	rest, _ := kv.DeleteRange(ctx, flotilla.Prefix("tmp/"), nil)
	left, _ := kv.Count(ctx, flotilla.AllKeys(), nil)
	fmt.Println(one.Deleted, rest.Deleted, left)
	// Output: 1 1 1
}

func ExampleKV_Range() {
	ctx, kv := context.Background(), namespace("range")
	for _, key := range []string{"config/b", "config/a", "other"} {
		_, _ = kv.Put(ctx, key, []byte("value of "+key), nil)
	}
	for found, err := range kv.Range(ctx, flotilla.Prefix("config/"), &flotilla.RangeOptions{Descending: true}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s = %s\n", found.Key, found.Value)
	}
	// Output:
	// config/b = value of config/b
	// config/a = value of config/a
}

func ExampleKV_Txn() {
	ctx, kv := context.Background(), namespace("txn")
	claim := func(who string) {
		result, err := kv.Txn(ctx, flotilla.Txn{
			If:   []flotilla.Condition{flotilla.IfAbsent("owner")},
			Then: []flotilla.Op{flotilla.OpPut("owner", []byte(who), nil), flotilla.OpPut("since", []byte("today"), nil)},
			Else: []flotilla.Op{flotilla.OpGet("owner")},
		})
		switch {
		case err != nil:
			fmt.Println(err)
		case result.Succeeded:
			fmt.Println(who, "owns it, revision", result.Revision)
		default:
			fmt.Printf("%s finds that %s owns it\n", who, result.Results[0].KV.Value)
		}
	}
	claim("ann")
	claim("bob")
	// Output:
	// ann owns it, revision 2
	// bob finds that ann owns it
}

func ExampleKV_Compact() {
	ctx, kv := context.Background(), namespace("compact")
	_, _ = kv.Put(ctx, "k", []byte("old"), nil)
	put, _ := kv.Put(ctx, "k", []byte("new"), nil)
	if err := kv.Compact(ctx, put.Revision); err != nil {
		fmt.Println(err)
		return
	}
	_, err := kv.Get(ctx, "k", &flotilla.GetOptions{Revision: put.Revision - 1})
	if compacted, ok := errors.AsType[*flotilla.CompactedError](err); ok {
		fmt.Println("readable from revision", compacted.CompactRevision)
	}
	// Output: readable from revision 3
}

func ExampleClient_CreateAPIKey() {
	_ = namespace("keys")
	admin, _ := flotilla.New(flotilla.Config{URL: exampleNode.URL, APIKey: exampleNode.APIKey})
	defer admin.Close()
	ctx := context.Background()
	info, secret, err := admin.CreateAPIKey(ctx, flotilla.APIKeySpec{Description: "billing service"})
	if err != nil {
		fmt.Println(err)
		return
	}
	billing, _ := flotilla.New(flotilla.Config{URL: exampleNode.URL, APIKey: secret})
	defer billing.Close()
	_, err = billing.Namespace("keys").KV.Put(ctx, "k", nil, nil)
	fmt.Println("works:", err == nil)

	_ = admin.RevokeAPIKey(ctx, info.ID)
	_, err = billing.Namespace("keys").KV.Put(ctx, "k", nil, nil)
	fmt.Println("revoked:", errors.Is(err, flotilla.ErrUnauthenticated))
	// Output:
	// works: true
	// revoked: true
}
