package isolation

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"pgregory.net/rapid"

	adminv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/admin/v1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tenancy"
)

// room is a namespace of a tenant, with what the model says it holds.
type room struct {
	tenant    *tenant
	namespace string
	services  services
	keys      map[string]string
	revision  uint64
}

// rooms are namespaces of tenants whose names begin with each other, as do those of
// the namespaces: what joins two names with a separator would mix them up.
func rooms(t *testing.T) []*room {
	t.Helper()
	var list []*room
	base := fmt.Sprintf("m%d", shared.tenants.Add(1))
	for _, name := range []string{base, base + "-b", base + "--b"} {
		a := createTenant(t, &adminv1.NewTenant{Name: name, Plan: "unlimited"})
		namespaces := []string{"a", "a--b", "a-b", "b-a", "default"}
		_, err := as(a.key).tenants.CreateNamespaces(t.Context(), &flotillav1.CreateNamespacesRequest{Names: namespaces[:4]})
		require.NoError(t, err, "the names of one tenant's namespaces are nothing to another's")
		for _, ns := range namespaces {
			list = append(list, &room{tenant: a, namespace: ns, services: as(a.key), keys: make(map[string]string), revision: 1})
		}
	}
	for i, at := range list {
		listed, err := at.services.tenants.ListNamespaces(t.Context(), &flotillav1.ListNamespacesRequest{})
		require.NoError(t, err)
		require.Len(t, listed.GetNamespaces(), 5)
		require.Equal(t, at.namespace, listed.GetNamespaces()[i%5].GetName())
	}
	return list
}

// keyGenerator makes keys of what separates, ends and escapes names elsewhere, few
// enough that tenants have many in common.
func keyGenerator() *rapid.Generator[string] {
	part := rapid.SampledFrom([]string{"/", "\x00", "\xff", "a", "-", "--", "b", "%2f", "..", "@", "*", "kv/", "default/"})
	return rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(part, 1, 3).Draw(t, "parts"), "")
	})
}

// TestEachSeesWhatItWrote has tenants write at random, by all doors, and compares
// what each sees with a model of its own.
func TestEachSeesWhatItWrote(t *testing.T) {
	t.Parallel()
	list, etcd := rooms(t), pb.NewKVClient(dialEtcd(t, "").conn)
	rapid.Check(t, func(r *rapid.T) {
		ctx := t.Context()
		steps := rapid.IntRange(1, 12).Draw(r, "steps")
		for range steps {
			at := rapid.SampledFrom(list).Draw(r, "room")
			key := keyGenerator().Draw(r, "key")
			token := withToken(ctx, at.tenant.key+"@"+at.namespace)
			switch rapid.SampledFrom([]string{"put", "put", "put by etcd", "delete", "delete under", "look under", "look under by etcd"}).Draw(r, "step") {
			case "put":
				_, err := at.services.kv.Put(ctx, &flotillav1.PutRequest{Namespace: at.namespace, Key: []byte(key), Value: []byte(at.mark(key)), RequestId: fmt.Sprint(at.revision)})
				require.NoError(r, err)
				at.put(key)
			case "put by etcd":
				_, err := etcd.Put(token, &pb.PutRequest{Key: []byte(key), Value: []byte(at.mark(key))})
				require.NoError(r, err)
				at.put(key)
			case "delete":
				_, err := etcd.DeleteRange(token, &pb.DeleteRangeRequest{Key: []byte(key)})
				require.NoError(r, err)
				at.remove(func(k string) bool { return k == key })
			case "delete under":
				_, err := at.services.kv.Delete(ctx, &flotillav1.DeleteRequest{Namespace: at.namespace, Target: &flotillav1.DeleteRequest_Range{
					Range: &flotillav1.KeyRange{Prefix: []byte(key)},
				}})
				require.NoError(r, err)
				at.remove(func(k string) bool { return strings.HasPrefix(k, key) })
			case "look under":
				at.requireUnder(ctx, r, at.services, key)
			case "look under by etcd":
				found, err := etcd.Range(token, &pb.RangeRequest{Key: []byte(key), RangeEnd: []byte{0}})
				require.NoError(r, err)
				var got []string
				for _, kv := range found.GetKvs() {
					got = append(got, string(kv.GetKey()))
				}
				require.Equal(r, at.list(func(k string) bool { return k >= key }), got)
				require.Equal(r, int64(at.revision), found.GetHeader().GetRevision())
			}
		}
		for _, at := range list {
			at.requireUnder(ctx, r, at.services, "")
		}
	})
}

// mark is a value that says whose it is.
func (at *room) mark(key string) string { return at.tenant.name + " " + at.namespace + " " + key }

func (at *room) put(key string) {
	at.keys[key] = at.mark(key)
	at.revision++
}

func (at *room) remove(which func(string) bool) {
	before := len(at.keys)
	maps.DeleteFunc(at.keys, func(key, _ string) bool { return which(key) })
	if len(at.keys) < before {
		at.revision++
	}
}

// list is the keys that the model has, in their order.
func (at *room) list(which func(string) bool) []string {
	var list []string
	for _, key := range slices.Sorted(maps.Keys(at.keys)) {
		if which(key) {
			list = append(list, key)
		}
	}
	return list
}

// requireUnder reads what begins with a prefix, which must be what the model has.
func (at *room) requireUnder(ctx context.Context, t require.TestingT, by services, prefix string) {
	found, err := by.kv.Range(ctx, &flotillav1.RangeRequest{Namespace: at.namespace, Keys: &flotillav1.KeyRange{Prefix: []byte(prefix)}})
	require.NoError(t, err)
	require.Equal(t, at.revision, found.GetRevision(), "%s/%s", at.tenant.name, at.namespace)
	var got []string
	for _, kv := range found.GetKvs() {
		got = append(got, string(kv.GetKey()))
		require.Equal(t, at.mark(string(kv.GetKey())), string(kv.GetValue()))
	}
	require.Equal(t, at.list(func(k string) bool { return strings.HasPrefix(k, prefix) }), got)
}

// TestPrefixesAreWalls reads and watches with keys that allow a prefix: they see what
// the model has under it, and are refused the smallest step beyond.
func TestPrefixesAreWalls(t *testing.T) {
	t.Parallel()
	list := rooms(t)[:5]
	for _, at := range list {
		for _, key := range []string{"a", "a/", "a/b", "a/\x00", "a/\xff", "a/\xff\xff", "a0", "a\xff", "\xff", "\xff\xff", "\x00", "b"} {
			_, err := at.services.kv.Put(t.Context(), &flotillav1.PutRequest{Namespace: at.namespace, Key: []byte(key), Value: []byte(at.mark(key))})
			require.NoError(t, err)
			at.put(key)
		}
	}
	for _, prefix := range []string{"a", "a/", "a/\xff", "a\xff", "\xff", "\xff\xff", "\x00"} {
		for _, at := range list {
			key := at.tenant.allow(t, tenancy.Permission{Actions: read | watch, Namespace: at.namespace, Prefix: []byte(prefix)})
			at.requireUnder(t.Context(), t, as(key), prefix)
			for _, beyond := range []*flotillav1.RangeRequest{
				{Keys: &flotillav1.KeyRange{Prefix: []byte(prefix[:len(prefix)-1])}},
				{Keys: &flotillav1.KeyRange{Start: []byte(prefix[:len(prefix)-1])}},
				{Keys: &flotillav1.KeyRange{Start: []byte{1}, End: []byte{0xfe}}},
				{},
			} {
				beyond.Namespace = at.namespace
				_, err := as(key).kv.Range(t.Context(), beyond)
				require.Equal(t, denied, answer{err: err}.verdict(), "%q beyond %q: %v", beyond, prefix, err)
			}
			for _, other := range list {
				if other != at {
					_, err := as(key).kv.Range(t.Context(), &flotillav1.RangeRequest{Namespace: other.namespace, Keys: &flotillav1.KeyRange{Prefix: []byte(prefix)}})
					require.Equal(t, denied, answer{err: err}.verdict())
				}
			}
		}
	}
}
