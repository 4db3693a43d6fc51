package tenancy_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tenancy"
)

func TestPermissionsAllow(t *testing.T) {
	t.Parallel()
	const read, write, admin = tenancy.ActionRead, tenancy.ActionWrite, tenancy.ActionAdmin
	span := func(start, end string) tenancy.Span {
		return tenancy.Span{Start: []byte(start), End: []byte(end)}
	}
	inApp := tenancy.Permissions{{Actions: read, Namespace: "app", Prefix: []byte("a/")}}
	tests := map[string]struct {
		permissions tenancy.Permissions
		actions     tenancy.Action
		namespace   string
		keys        tenancy.Span
		want        bool
	}{
		"nothing allows nothing":        {nil, read, "app", span("a", "b"), false},
		"no action is never allowed":    {tenancy.FullAccess(), 0, "app", tenancy.AllKeys(), false},
		"full access":                   {tenancy.FullAccess(), read | write | admin, "app", tenancy.AllKeys(), true},
		"key under the prefix":          {inApp, read, "app", tenancy.OneKey([]byte("a/x")), true},
		"the prefix itself":             {inApp, read, "app", tenancy.OneKey([]byte("a/")), true},
		"key before the prefix":         {inApp, read, "app", tenancy.OneKey([]byte("a")), false},
		"key after the prefix":          {inApp, read, "app", tenancy.OneKey([]byte("a0")), false},
		"other namespace":               {inApp, read, "web", tenancy.OneKey([]byte("a/x")), false},
		"other action":                  {inApp, write, "app", tenancy.OneKey([]byte("a/x")), false},
		"one action of two":             {inApp, read | write, "app", tenancy.OneKey([]byte("a/x")), false},
		"range inside":                  {inApp, read, "app", span("a/b", "a/c"), true},
		"range up to the prefix's end":  {inApp, read, "app", span("a/", "a0"), true},
		"range beyond the prefix's end": {inApp, read, "app", span("a/", "a0\x00"), false},
		"range without an end":          {inApp, read, "app", span("a/", ""), false},
		"all keys under a prefix":       {inApp, read, "app", tenancy.AllKeys(), false},
		"prefix of 0xff has no end":     {tenancy.Permissions{{Actions: read, Prefix: []byte("\xff")}}, read, "app", span("\xff\x01", ""), true},
		"prefix that ends in 0xff": {
			tenancy.Permissions{{Actions: read, Prefix: []byte("a\xff")}}, read, "app", span("a\xff", "b"), true,
		},
		"actions from two permissions": {
			tenancy.Permissions{{Actions: read}, {Actions: write, Prefix: []byte("a")}},
			read | write, "app", tenancy.OneKey([]byte("ab")), true,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, test.want, test.permissions.Allow(test.actions, test.namespace, test.keys))
		})
	}
}

func TestPermissionsReach(t *testing.T) {
	t.Parallel()
	require.True(t, tenancy.FullAccess().Reach("app"))
	narrow := tenancy.Permissions{{Actions: tenancy.ActionAdmin}, {Actions: tenancy.ActionLock, Namespace: "app", Prefix: []byte("a")}}
	require.True(t, narrow.Reach("app"))
	require.False(t, narrow.Reach("web"), "an administrator's own namespaces are not to be looked into")
	require.False(t, tenancy.Permissions(nil).Reach("app"))
}

// TestPermissionCoversExactlyItsPrefix compares single keys with what a prefix
// means.
func TestPermissionCoversExactlyItsPrefix(t *testing.T) {
	t.Parallel()
	letters := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 'a', 'b', 0xfe, 0xff}), 0, 4)
	rapid.Check(t, func(t *rapid.T) {
		prefix, key := letters.Draw(t, "prefix"), letters.Draw(t, "key")
		permissions := tenancy.Permissions{{Actions: tenancy.ActionRead, Prefix: prefix}}
		require.Equal(t, bytes.HasPrefix(key, prefix),
			permissions.Allow(tenancy.ActionRead, "app", tenancy.OneKey(key)))
	})
}

func TestOneKeyLeavesItsArgumentAlone(t *testing.T) {
	t.Parallel()
	buffer := []byte("ab")
	span := tenancy.OneKey(buffer[:1])
	require.Equal(t, "a\x00", string(span.End))
	require.Equal(t, "ab", string(buffer))
}

func TestActionString(t *testing.T) {
	t.Parallel()
	require.Equal(t, "read|write|watch|lease|lock|queue-send|queue-receive|admin", tenancy.AllActions.String())
	require.Equal(t, "write", tenancy.ActionWrite.String())
	require.Empty(t, tenancy.Action(0).String())
}

func TestParseAction(t *testing.T) {
	t.Parallel()
	for action := tenancy.ActionRead; action <= tenancy.ActionAdmin; action <<= 1 {
		parsed, ok := tenancy.ParseAction(action.String())
		require.True(t, ok)
		require.Equal(t, action, parsed)
	}
	_, ok := tenancy.ParseAction("everything")
	require.False(t, ok)
}

func TestPermissionsOfTheAPI(t *testing.T) {
	t.Parallel()
	told := []*flotillav1.Permission{
		{Actions: []flotillav1.Action{flotillav1.Action_ACTION_READ, flotillav1.Action_ACTION_ADMIN}, Namespace: "app", Prefix: []byte("a/")},
		{Actions: []flotillav1.Action{flotillav1.Action_ACTION_QUEUE_RECEIVE}},
	}
	permissions, err := tenancy.ParsePermissions(told)
	require.NoError(t, err)
	require.Equal(t, tenancy.Permissions{
		{Actions: tenancy.ActionRead | tenancy.ActionAdmin, Namespace: "app", Prefix: []byte("a/")},
		{Actions: tenancy.ActionQueueReceive},
	}, permissions)
	again := permissions.Proto()
	require.Len(t, again, 2)
	for i := range again {
		require.True(t, proto.Equal(told[i], again[i]))
	}

	none, err := tenancy.ParsePermissions(nil)
	require.NoError(t, err)
	require.Equal(t, tenancy.FullAccess(), none, "a credential without permissions of its own may do everything")

	for name, bad := range map[string]*flotillav1.Permission{
		"no action":      {},
		"unknown action": {Actions: []flotillav1.Action{99}},
		"unset action":   {Actions: []flotillav1.Action{flotillav1.Action_ACTION_UNSPECIFIED}},
		"namespace":      {Actions: []flotillav1.Action{flotillav1.Action_ACTION_READ}, Namespace: "A"},
		"long prefix":    {Actions: []flotillav1.Action{flotillav1.Action_ACTION_READ}, Prefix: make([]byte, 4097)},
	} {
		_, err := tenancy.ParsePermissions([]*flotillav1.Permission{bad})
		require.Error(t, err, name)
	}
	_, err = tenancy.ParsePermissions(make([]*flotillav1.Permission, tenancy.PermissionsMax+1))
	require.Error(t, err)

	long := &flotillav1.Permission{Actions: []flotillav1.Action{flotillav1.Action_ACTION_READ}, Prefix: make([]byte, 4096)}
	_, err = tenancy.ParsePermissions([]*flotillav1.Permission{long, long})
	require.NoError(t, err)
	long.Prefix = long.Prefix[:2731]
	_, err = tenancy.ParsePermissions([]*flotillav1.Permission{long, long, long})
	require.EqualError(t, err, "the permissions are not valid: the prefixes of a credential take up to 8192 bytes together")
}

func TestPermissionsWithin(t *testing.T) {
	t.Parallel()
	const read, write = tenancy.ActionRead, tenancy.ActionWrite
	wide := tenancy.Permissions{{Actions: read | write, Namespace: "app", Prefix: []byte("a/")}}
	require.True(t, wide.Within(tenancy.FullAccess()))
	require.True(t, wide.Within(wide))
	require.True(t, tenancy.Permissions{{Actions: read, Namespace: "app", Prefix: []byte("a/b")}}.Within(wide))
	require.False(t, tenancy.FullAccess().Within(wide))
	require.False(t, tenancy.Permissions{{Actions: read, Prefix: []byte("a/")}}.Within(wide), "all namespaces are more than one")
	require.False(t, tenancy.Permissions{{Actions: read, Namespace: "app", Prefix: []byte("a")}}.Within(wide))
	require.False(t, tenancy.Permissions{{Actions: tenancy.ActionAdmin, Namespace: "app", Prefix: []byte("a/")}}.Within(wide))
}

// TestNewPermissionsAreOfUse: what no request could ever be allowed by is refused when
// a credential is made, and read where one is stored.
func TestNewPermissionsAreOfUse(t *testing.T) {
	t.Parallel()
	const read, lease, admin = tenancy.ActionRead, tenancy.ActionLease, tenancy.ActionAdmin
	in := func(actions tenancy.Action, namespace, prefix string) tenancy.Permission {
		return tenancy.Permission{Actions: actions, Namespace: namespace, Prefix: []byte(prefix)}
	}
	for name, test := range map[string]struct {
		permissions tenancy.Permissions
		says        string // nothing if it is taken
	}{
		"nothing said":           {nil, ""},
		"everything":             {tenancy.FullAccess(), ""},
		"admin":                  {tenancy.Permissions{in(admin, "", "")}, ""},
		"admin of a namespace":   {tenancy.Permissions{in(admin, "default", "")}, "admin needs all namespaces"},
		"admin under a prefix":   {tenancy.Permissions{in(admin, "", "x/")}, "admin needs all namespaces"},
		"admin beside another":   {tenancy.Permissions{in(read|admin, "default", "")}, "admin needs all namespaces"},
		"a second one":           {tenancy.Permissions{in(admin, "", ""), in(read, "app", "x/"), in(admin, "app", "")}, "admin needs all namespaces"},
		"lease":                  {tenancy.Permissions{in(lease, "", "")}, ""},
		"lease in a namespace":   {tenancy.Permissions{in(lease, "default", "")}, ""},
		"lease under a prefix":   {tenancy.Permissions{in(lease, "default", "x/")}, "lease needs every key"},
		"lease beside another":   {tenancy.Permissions{in(read|lease, "", "x/")}, "lease needs every key"},
		"all but those two":      {tenancy.Permissions{in(tenancy.AllActions&^(lease|admin), "default", "x/")}, ""},
		"all of one namespace":   {tenancy.Permissions{in(tenancy.AllActions&^admin, "default", "")}, ""},
		"each in a part of them": {tenancy.Permissions{in(read, "default", "x/"), in(lease, "default", ""), in(admin, "", "")}, ""},
	} {
		permissions, err := tenancy.ParseNewPermissions(test.permissions.Proto())
		if test.says == "" {
			require.NoError(t, err, name)
			require.NotEmpty(t, permissions, name)
			continue
		}
		require.ErrorAs(t, err, new(*tenancy.InvalidPermissionError), name)
		require.ErrorContains(t, err, test.says, name)
		_, err = tenancy.ParsePermissions(test.permissions.Proto())
		require.NoError(t, err, name)
	}
	_, err := tenancy.ParseNewPermissions([]*flotillav1.Permission{{}})
	require.Error(t, err, "no action")
}
