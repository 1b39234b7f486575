package main

// way is how an update is made and carried out. Its scripts are for bash; what they work with is
// in the environment:
//
//	TBDIFF       our program
//	CLASSIC      directory of the classic programs, empty if there is none
//	OLD, NEW     the trees, which are read-only snapshots, one of the other's history
//	TOP          the volume of both, DEVICE what it is on
//	NEWS         list of the files that are new or changed, each with a NUL
//	LEVEL        the level of zstd for what does not pack by itself, an option
//	WORK         an empty directory of the volume, kept until the update was carried out
//	UPDATE       the file to make, and to carry out then
//	TREE         what has to be like NEW in the end
//
// All is on one btrfs volume.
type way struct {
	name   string
	ours   bool
	known  string // before it is made, for what is known from the update before; not measured
	create string // "" for a way that has nothing to deliver
	ready  string // before it is carried out; not measured
	apply  string
	below  string // where in TREE the result is, "" for TREE itself
	// yardstick is true for what is no update, but something to hold updates against.
	yardstick bool
}

// onSnapshot makes TREE what a machine begins with.
const onSnapshot = `btrfs -q subvolume snapshot "$OLD" "$TREE"`

// empty makes it nothing.
const empty = `btrfs -q subvolume create "$TREE"`

// ways are ours and the peers'.
var ways = []way{
	ours("tbdiff v1, fast", "--level fast"),
	ours("tbdiff v1", ""),
	ours("tbdiff v1, small", "--level small"),
	{
		name: "tbdiff v1, fast, from history", ours: true,
		known:  history(`"${OLD##*/}" "${OLD##*/}"`),
		create: history(`"${OLD##*/}" "${NEW##*/}"`),
	},
	{
		name: "tbdiff v0 | zstd", ours: true,
		create: `"$TBDIFF" create --format v0 -o - "$OLD" "$NEW" | zstd -q $LEVEL -T0 -f -o "$UPDATE"`,
		ready:  onSnapshot,
		apply:  `zstd -q -d -c "$UPDATE" | "$TBDIFF" apply - "$TREE"`,
	},
	{
		name: "classic tbdiff | zstd",
		create: `[ -n "$CLASSIC" ] || { echo "the classic programs are not here (CLASSIC=DIR)" >&2; exit 1; }
			"$CLASSIC/tbdiff-create" "$WORK/stream" "$OLD" "$NEW" && zstd -q $LEVEL -T0 --rm -f -o "$UPDATE" "$WORK/stream"`,
		ready: onSnapshot,
		apply: `zstd -q -d -o "$WORK/stream" "$UPDATE" && cd "$TREE" && "$CLASSIC/tbdiff-deploy" "$WORK/stream" && rm "$WORK/stream"`,
	},
	{
		name: "ostree static delta",
		create: `
			ostree() { command ostree --repo="$WORK/repo" "$@" 2>&1; }
			ostree init --mode=bare
			for tree in "$OLD" "$NEW"; do # ostree stops at what is no file, and is spared it
				btrfs -q subvolume snapshot "$tree" "$WORK/tree"
				find "$WORK/tree" \( -type b -o -type c -o -type p -o -type s \) -delete
				ostree commit --branch="${tree##*/}" --subject=x --tree="dir=$WORK/tree"
				btrfs -q subvolume delete "$WORK/tree"
			done
			ostree static-delta generate --from="${OLD##*/}" --to="${NEW##*/}" --inline --min-fallback-size=0 --filename="$UPDATE"`,
		// The machine has the commit of the old tree only, as it always has. It checks the new one out
		// by hard links.
		ready: empty + `
			ostree --repo="$TREE/repo" init --mode=bare
			ostree --repo="$TREE/repo" pull-local "$WORK/repo" "${OLD##*/}"
			ostree --repo="$WORK/repo" rev-parse "${NEW##*/}" >"$WORK/commit"`,
		apply: `ostree --repo="$TREE/repo" static-delta apply-offline "$UPDATE"
			ostree --repo="$TREE/repo" checkout --require-hardlinks "$(cat "$WORK/commit")" "$TREE/new"`,
		below: "new",
	},
	{
		name: "zstd -19 --patch-from of tars",
		create: `
			for tree in "$OLD" "$NEW"; do tar --sort=name --xattrs -C "$tree" -cf "$WORK/${tree##*/}.tar" .; done
			zstd -q -19 --long=31 --patch-from="$WORK/${OLD##*/}.tar" "$WORK/${NEW##*/}.tar" -f -o "$UPDATE"`,
		ready: empty,
		apply: `
			tar --sort=name --xattrs -C "$OLD" -cf "$WORK/machine.tar" .
			zstd -q -d --long=31 --patch-from="$WORK/machine.tar" -c "$UPDATE" | tar --xattrs --xattrs-include='*' --numeric-owner -C "$TREE" -xpf -`,
	},
	{
		name: "rsync batch | zstd",
		create: `
			rsync -aHAX --delete --numeric-ids --no-whole-file --only-write-batch="$WORK/batch" "$NEW/" "$OLD/"
			zstd -q $LEVEL -T0 -f -o "$UPDATE" "$WORK/batch"`,
		ready: onSnapshot,
		apply: `zstd -q -d -c "$UPDATE" | rsync -aHAX --delete --numeric-ids --no-whole-file --read-batch=- "$TREE/"`,
	},
	{
		name:   "btrfs send -p | zstd",
		create: `btrfs -q send -p "$OLD" "$NEW" | zstd -q $LEVEL -T0 -f -o "$UPDATE"`,
		// What is cloned is looked for in what was received itself.
		ready: `mkdir "$TREE"; btrfs -q send "$OLD" | btrfs -q receive "$TREE"`,
		apply: `zstd -q -d -c "$UPDATE" | btrfs -q receive "$TREE"`,
		below: "new",
	},
	{
		name: "casync, new chunks",
		create: `
			for tree in "$OLD" "$NEW"; do
				before=$(du -sb "$WORK" | cut -f 1)
				casync make --store="$WORK/store.castr" "$WORK/${tree##*/}.caidx" "$tree" >&2
			done
			truncate -s "$(($(du -sb "$WORK" | cut -f 1) - before))" "$UPDATE"`,
		ready: empty,
		apply: `casync extract --store="$WORK/store.castr" --seed="$OLD" "$WORK/${NEW##*/}.caidx" "$TREE" >&2`,
	},
	{
		name: "the new files, copied", yardstick: true,
		ready: empty,
		apply: `cd "$NEW" && xargs -0 cp -a --reflink=never --parents -t "$TREE" <"$NEWS"`,
	},
	{
		name: "btrfs send --no-data", yardstick: true,
		create: `btrfs -q send --no-data -p "$OLD" "$NEW" >"$UPDATE"`,
	},
}

// ours is tbdiff with a stream of version 1.
func ours(name, level string) way {
	return way{
		name: name, ours: true,
		create: `exec "$TBDIFF" create --format v1 ` + level + ` -o "$UPDATE" "$OLD" "$NEW"`,
		ready:  onSnapshot,
		apply:  `exec "$TBDIFF" apply "$UPDATE" "$TREE"`,
	}
}

// history makes a stream of what the filesystem says of two of its snapshots.
func history(snapshots string) string {
	return `exec "$TBDIFF" create --format v1 --level fast --fs btrfs --fs-config device="$DEVICE" --indexes "$WORK/indexes" -o "$UPDATE" ` + snapshots
}
