#!/usr/bin/env bash
# Bad data and bad flags: one line that says what to do, a non-zero exit, no results.
. "$SMKD_SRC/tests/tools/train.bash"
make_peers
src=/usr/share/datasets/fashion-mnist
few[1]=fashion-mnist # by its name, and all of it

refuses 'the method smkd-p takes at least 2 networks: give --peer twice or more, not 1 time' "$run" train --peer a.smkd "${few[@]}" -o r
refuses 'the method ce takes at least 1 network: give --peer once or more, not 0 times' "$run" train --method ce "${few[@]}" -o r
refuses '--huber-delta belongs to other methods (mse, l1, huber), not to smkd-p' train --huber-delta 1 -o r
refuses '--loss is another name of --method' train --loss ce --method ce -o r
refuses '--refine mylc: the method ce has none there; take another of its family: smkd-p' train --method ce --refine mylc -o r
refuses '--data is missing' "$run" train --peer a.smkd --peer b.smkd -o r
refuses 'no such data folder' "$run" train --peer a.smkd --peer b.smkd --data nowhere -o r
refuses 'no data set recognised' "$run" train --peer a.smkd --peer b.smkd --data . -o r
refuses 'expected none, symmetric:R' train --noise symmetric:2 -o r
refuses 'similar is known of CIFAR-10 and CIFAR-100 (their binary files) only, not of fashion-mnist; give --noise matrix:FILE' train --noise asymmetric:0.4 -o r
refuses 'T.csv: cannot be read' train --noise matrix:T.csv -o r
printf '1,0\n0,1\n' >T.csv
refuses 'T.csv: line 1 has 2 numbers, expected 10, one for each class' train --noise matrix:T.csv -o r
refuses '--lr -1: expected a number' "$run" train --peer a.smkd --peer b.smkd "${few[@]}" --lr=-1 -o r
refuses '--std 0: expected numbers from 1e-06' train --std 0 -o r
refuses '--mean 0.5,0.5,0.5: expected 1 number' train --mean 0.5,0.5,0.5 -o r
refuses '--val-split 0.0001: of 512 training images that is none' train --val-split 0.0001 -o r
refuses '--kdcl-mode linear: mixes two networks; take min-logit, naive or general for more' "$run" train --peer a.smkd --peer b.smkd --peer a.smkd "${few[@]}" --method kdcl --kdcl-mode linear -o r
refuses 'the method kdcl looks at validation images before each epoch: keep some of the training images for that with --val-split 0.1' \
    "$run" train --peer a.smkd --peer b.smkd "${few[@]}" --method kdcl --kdcl-mode general -o r
refuses 'there is no method "nothing"; expected one of smkd-p' train --loss nothing -o r
refuses '--max-batch' "$run" train --peer a.smkd --peer b.smkd "${few[@]}" --batch-size 100000 -o r

"$smkdc" new resnet8 --width 8 --input 3x32x32 --classes 10 -o c.onnx
"$smkdc" compile c.onnx -o c.smkd
refuses 'both peers see the same images' "$run" train --peer a.smkd --peer c.smkd "${few[@]}" -o r
"$smkdc" new resnet8 --width 8 --input 1x28x28 --classes 7 -o d.onnx
"$smkdc" compile d.onnx -o d.smkd
refuses 'peers need the same classes' "$run" train --peer a.smkd --peer d.smkd "${few[@]}" -o r
refuses 'expected 0 to 6, the outputs of the model; the largest label is 9: make the model with --classes 10' "$run" train --peer d.smkd --peer d.smkd "${few[@]}" -o r

# What --data is instead of a data set.
mkdir -p folder/empty folder/py
touch folder/py/data_batch_1 folder/py/batches.meta folder/cifar-10-binary.tar.gz
refuses 'folder/empty: no data set recognised: the folder is empty' "$run" train --peer a.smkd --peer b.smkd --data folder/empty -o r
refuses 'batches.meta is the Python version of CIFAR-10' "$run" train --peer a.smkd --peer b.smkd --data folder/py -o r
refuses 'is a file, not a folder: an archive: unpack it' "$run" train --peer a.smkd --peer b.smkd --data folder/cifar-10-binary.tar.gz -o r

# A folder of plain files, one of them broken at a time.
mkdir data
for f in train-images-idx3 train-labels-idx1 t10k-images-idx3 t10k-labels-idx1; do gzip -dc $src/$f-ubyte.gz >data/$f-ubyte; done
here() { "$run" train --peer a.smkd --peer b.smkd --data data --train-limit 512 --epochs 1 -o r; }
head -c 1000000 $src/train-images-idx3-ubyte.gz >data/train-images-idx3-ubyte.gz
mv data/train-images-idx3-ubyte keep
refuses 'train-images-idx3-ubyte.gz' here
rm data/train-images-idx3-ubyte.gz
head -c 1000000 keep >data/train-images-idx3-ubyte
refuses 'train-images-idx3-ubyte: ends at byte 1000000' here
mv keep data/train-images-idx3-ubyte
printf '\012' | dd of=data/train-labels-idx1-ubyte bs=1 seek=108 conv=notrunc status=none
refuses 'record 100 (offset 108) has label 10, expected 0 to 9' here
printf '\001' | dd of=data/train-labels-idx1-ubyte bs=1 seek=108 conv=notrunc status=none
printf '11\n3\n' >l.txt
refuses 'label 0 is 11, expected 0 to 9' train --labels l.txt -o r
printf '1\n3\n' >l.txt
refuses 'has 2 labels, expected one for each of 60000 images' train --labels l.txt -o r
mkdir cifar
head -c 3000 /dev/zero >cifar/data_batch_1.bin
head -c 3073 /dev/zero >cifar/test_batch.bin
refuses 'record 0 (offset 0) is short' "$run" train --peer c.smkd --peer c.smkd --data cifar -o r
[ ! -e r ] || fail "a refused run left a folder"

# Classes come from the data, not from a model with more outputs.
"$smkdc" new resnet8 --width 4 --input 1x28x28 --classes 1000 -o k.onnx
"$smkdc" compile k.onnx -o k.smkd
for noise in symmetric:1 pairflip:1 symmetric-inclusive:1; do
    "$run" train --peer k.smkd --peer k.smkd "${few[@]}" --noise $noise --loss ce --epochs 1 --overwrite -o many --save-labels many.npy 2>many.log
    grep -q 'note: the peers have 1000 outputs for 10 classes' many.log || fail "a head of 1000 is said"
    largest=$(od -An -v -td8 -w8 -j $(($(stat -c %s many.npy) - 512 * 8)) many.npy | sort -n | tail -1)
    [ "$largest" -eq 9 ] || fail "$noise among the data's classes, not up to $largest"
done
grep -q '"classes":	10,' many/config.json || fail "config.json has the data's classes"

# One class.
for f in train t10k; do { head -c 8 data/$f-labels-idx1-ubyte; head -c $(($(stat -c %s data/$f-labels-idx1-ubyte) - 8)) /dev/zero; } >data/l && mv data/l data/$f-labels-idx1-ubyte; done
refuses 'all labels of data are 0; noise needs two classes' "$run" train --peer a.smkd --peer b.smkd --data data --noise pairflip:1 -o r

# Labels of the images in another order.
gzip -dc $src/train-labels-idx1-ubyte.gz | tail -c +9 | od -An -v -tu1 -w1 >right.txt
sort -s -k1,1n <(paste -d ' ' <(od -An -v -tu2 -w2 -N 120000 /usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz) right.txt) |
    awk '{print $2}' >order.txt
for f in right order; do train --epochs 1 --overwrite --labels $f.txt --noise none -o order 2>$f.log; done
grep -q 'warning: order.txt agrees with the data set.s labels as often as chance has it' order.log || fail "another order is said"
! grep -q 'chance' right.log || fail "the right order is not"

# Peers of a resumed run, in the other order or others.
train --epochs 1 -o pair 2>pair.log
refuses 'the peers come in another order: the run began with --peer' "$run" train --resume -o pair --peer b.smkd --peer a.smkd
refuses 'b.smkd, is not the one the run began with, which was "' "$run" train --resume -o pair --peer b.smkd --peer b.smkd
"$smkdc" new resnet8 --width 8 --input 1x28x28 --classes 10 --seed 7 -o e.onnx # a's graph with other weights
"$smkdc" compile e.onnx -o e.smkd
"$run" train --peer a.smkd --peer e.smkd "${few[@]}" --epochs 1 -o twins 2>twins.log
refuses 'the peers come in another order' "$run" train --resume -o twins --peer e.smkd --peer a.smkd
refuses 'e.smkd, is not the one the run began with' "$run" train --resume -o twins --peer e.smkd --peer e.smkd
"$run" train --resume -q -o twins --peer a.smkd --peer e.smkd || fail "the same peers go on"

# A disk that fills up while a checkpoint is written: no half file is left. (The unit test test_checkpoint shows that an
# earlier checkpoint stays.)
train --epochs 1 -o whole 2>whole.log
size=$(($(stat -c %s whole/last.safetensors) / 1024 - 4))
refuses 'last.safetensors' bash -c "trap '' XFSZ; ulimit -f $size; exec '$run' train --peer a.smkd --peer b.smkd --data fashion-mnist \
--train-limit 512 --test-limit 300 --epochs 1 -o limited"
[ ! -e limited/last.safetensors ] || fail "a checkpoint that did not fit is there"
! ls limited | grep -q tmp || fail "a temporary file was left behind"
echo ok
