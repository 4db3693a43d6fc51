package e2e

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/tests/process"
)

// TestOperatorCommands does what an operator does to a tenant in its life, and the
// mistakes that can be made, by the command line.
func TestOperatorCommands(t *testing.T) {
	t.Parallel()
	node := process.Dev(t)
	for _, tt := range []struct {
		args string
		code int
		want string // in stdout, or in stderr of what fails
	}{
		{args: "tenant create acme --plan free --description customer", want: "flk_"},
		{args: "tenant create acme", code: failed, want: "exists already"},
		{args: "tenant create Acme", code: usage, want: "a-z"},
		{args: "tenant create flotilla-x", code: usage, want: "tenant"},
		{args: "tenant create beta --plan gold", code: usage, want: "free, standard, unlimited"},
		{args: "tenant create beta --weight 101", code: usage, want: "1 to 100"},
		{args: "tenant create beta --limit nonsense=1", code: usage, want: "it takes batch_operations_max"},
		{args: "tenant create beta --limit keys_max=-1", code: usage, want: "whole number"},
		{args: "tenant create beta --without-key -o json", want: `"name":"beta"`},
		{args: "tenant list", want: "acme"},
		{args: "tenant list -o json", want: `"plan":"free"`},
		{args: "tenant get acme", want: "stored_bytes_max      67108864"},
		{args: "tenant get nobody", code: notFound, want: "tenant"},
		{args: "tenant set-limits acme --limit keys_max=5 --weight 3", want: "keys_max              5 *"},
		{args: "tenant set-limits acme --plan standard", want: "keys_max              5 *"},
		{args: "tenant set-limits acme --clear", want: "keys_max              5000000\n"},
		{args: "tenant set-limits acme", code: usage, want: "nothing to set"},
		{args: "tenant set-limits acme --plan gold", code: usage, want: "there is no plan"},
		{args: "namespace create --tenant acme staging live", want: "staging\nlive\n"},
		{args: "namespace create --tenant acme staging", code: failed, want: "exists already"},
		{args: "namespace create --tenant nobody a", code: notFound, want: "tenant"},
		{args: "namespace list --tenant acme", want: "live"},
		{args: "namespace delete --tenant acme live", want: "live is deleted"},
		{args: "namespace delete --tenant acme live", code: notFound, want: "namespace"},
		{args: "key create --tenant acme --allow read,watch:default:config/ --description reader --expires 1h", want: "flk_"},
		{args: "key create --tenant acme --allow fly", code: usage, want: `there is no action "fly"`},
		{args: "key create --tenant acme --expires -1h", code: usage, want: "--expires is -1h0m0s"},
		{args: "key list --tenant acme", want: "read,watch:default:config/"},
		{args: "key revoke --tenant acme aaaaaaaaaaaaaaaa", code: notFound, want: "no API key of this id: list the keys of the tenant (TenantService.ListAPIKeys, `flotilla key list`)"},
		{args: "key revoke --tenant acme nonsense", code: usage, want: "not the id of an API key: list the keys of the tenant"},
		{args: "key list --tenant nobody", code: notFound, want: "tenant"},
		{args: "tenant suspend acme", want: "acme is suspended\n"},
		{args: "tenant resume acme", want: "acme is resumed\n"},
		{args: "tenant delete beta --grace 1h", want: "beta is deleted: deleting until"},
		{args: "tenant suspend beta", code: failed, want: "being deleted"},
		{args: "tenant resume beta", want: "beta is resumed\n"},
		{args: "tenant delete beta --grace 9000h", code: usage, want: "90 days"},
		{args: "operator create eve --role viewer --expires 1h", want: "flo_eve_"},
		{args: "operator create eve", code: failed, want: "exists already"},
		{args: "operator create late --expires -1h", code: usage, want: "--expires is -1h0m0s"},
		{args: "operator create mallory --role king", code: usage, want: "viewer, operator or owner"},
		{args: "operator list", want: "bootstrap  owner"},
		{args: "operator delete bootstrap", code: failed, want: "last credential of an owner"},
		{args: "operator delete nobody", code: notFound, want: "no operator"},
		{args: "operator delete eve", want: "eve is deleted"},
		{args: "audit list --tenant acme", want: "operator:bootstrap"},
		{args: "audit list --actor operator:bootstrap", want: "Z  operator:bootstrap"},
		{args: "audit list --actor operator:nobody", want: "DETAIL\n"},
		{args: "audit list --actor nobody", code: usage, want: "begins with operator:, key:, issuer:, node:"},
		{args: "audit list --limit 1 -o json", want: `"act":"AdminService.DeleteOperator"`},
		{args: "audit list --since 1h --limit 0", code: usage, want: "1 or more"},
		{args: "node remove nobody", code: notFound, want: "no such node"},
		{args: "tenant list --operator-token-file /nonexistent", code: usage, want: "no such file"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			result := node.Home.Run(t, strings.Split(tt.args, " ")...)
			require.Equal(t, tt.code, result.Code, "stdout %s\nstderr %s", result.Stdout, result.Stderr)
			if tt.code == done {
				require.Contains(t, result.Stdout, tt.want)
			} else {
				require.Contains(t, result.Stderr, tt.want)
			}
		})
	}
}
